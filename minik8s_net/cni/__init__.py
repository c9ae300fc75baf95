"""Wiring: the fabric, the node's bridge, the pod's veth, routes or VXLAN, and address leases (IPAM).

In Kubernetes: the CNI plugin (bridge + host-local, or flannel). Knows no Kubernetes objects: names and addresses only.
"""
