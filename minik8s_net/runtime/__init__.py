"""The container runtime: sandboxes (network namespaces) and containers (real processes), spoken to in CRI's verbs.

In Kubernetes: containerd. Here: one small single-threaded process per cluster, PID 1 of its own PID namespace, that
holds every namespace of the cluster and forks containers on request. `cri.py` is its vocabulary, `client.py` the way
to talk to it. It outlives the controller; if it dies, its containers die with it.
"""
