"""A pod's life on one node: sandbox, containers, probes, volumes, status, events.

In Kubernetes: the kubelet. Reads Pods bound to its node; calls the runtime (CRI) and the CNI;
writes pod and node status.
"""
