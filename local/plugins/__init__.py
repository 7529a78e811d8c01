"""Pulumi's plugins for the local stacks, and stand-ins for where the official ones cannot be had.

The stand-ins speak the same gRPC protocols to the same engine. They are started once a command,
so this package imports nothing by itself.
"""
