"""NetworkPolicies made real: who may talk to whom, by iptables and ipset, and the evaluator that explains it.

In Kubernetes: the network plugin (Calico, kube-router …). Reads NetworkPolicies, Pods, Namespaces; writes chains and sets.
"""
