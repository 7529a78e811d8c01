"""The rules, one module a topic. Only `__main__.py` makes the pack: that starts its server."""
