"""The one place that talks to the kernel: namespaces, rtnetlink, iptables-restore, ipset, nft, sysctl, conntrack.

In Kubernetes this is scattered over containerd, CNI plugins and kube-proxy. Imports no other folder of the package.
Everything is a thin idempotent `ensure_…` / `remove_…`: look, change only what differs, say whether it changed.
Functions act on the *calling thread's* network namespace; `Netns.run` chooses the thread.
"""
