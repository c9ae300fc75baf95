"""How it is said: Kubernetes REST, watch, exec and logs over HTTPS, and the registry all writes go through.

In Kubernetes: kube-apiserver. Reads and writes the store; asks kubelets only for logs, exec and pod connections.
"""
