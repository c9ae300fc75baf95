"""What is known: versioned objects, watch, SQLite. In Kubernetes: etcd, and client-go's informers on the reading side.

`client.py` is the one interface through which every component reads and writes the cluster's objects.
"""
