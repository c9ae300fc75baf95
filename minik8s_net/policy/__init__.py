"""NetworkPolicies made real: who may talk to whom, by iptables and ipset, and the evaluator that explains it.

In Kubernetes: the network plugin (Calico, kube-router …).
Reads NetworkPolicies, Pods, Namespaces; writes chains, ipsets and
the bridge's entry table, marks forbidden flows. `enforcer.py` is the loop; all else it uses but `apply.py` is pure.
"""
