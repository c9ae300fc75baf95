"""A small Kubernetes client on the standard library, for the command line and `Cluster`: quick to import.

In Kubernetes: kubectl's own plumbing. Works against any cluster a kubeconfig names. Typed access is lightkube's job.
"""
