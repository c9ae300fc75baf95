"""trace: one real packet exchange, reported station by station from what the kernel said.

In Kubernetes: nothing; the nearest are `nft monitor trace`, tcpdump on every interface, and a night of reading.
Here: a prober sends from the pod's own network namespace while recorders listen in every namespace the packet may
cross (AF_PACKET on each interface, the kernel's rule trace, conntrack events); afterwards the records are put in order.
It reads the API only to say which object wrote a rule. It writes nothing but one nftables table per namespace that the
kernel itself removes when the trace's socket closes.
"""
