"""A real Kubernetes with KServe on this machine, put together from package registries."""
