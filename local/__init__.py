"""What the local targets need: tools, Pulumi plugins, the embedded runtime."""
