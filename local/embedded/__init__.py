"""The embedded target: what the Kubernetes provider rendered, run on this machine without root."""
