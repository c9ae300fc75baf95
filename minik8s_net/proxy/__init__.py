"""Services made real on every node: rules that turn a virtual IP into a pod's address.

In Kubernetes: kube-proxy. Reads Services and EndpointSlices; writes iptables (kube-proxy's own chains) or nftables.
"""
