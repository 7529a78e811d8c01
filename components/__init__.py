"""Pulumi components: what a stack declares becomes Kubernetes and AWS resources."""
