"""The model server: what runs inside a version's pods, and on the embedded target."""
