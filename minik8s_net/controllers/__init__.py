"""The loops that make wanted state happen in the store: scheduler, endpointslice, deployment, replicaset, garbage collection …

In Kubernetes: kube-controller-manager and kube-scheduler. Read and write the store only; never touch the kernel.
"""
