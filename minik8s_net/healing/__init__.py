"""Healing: what of ours in the kernel was deleted or altered from outside is put back, unless that is paused.

In Kubernetes: what kubelet, CNI plugin and kube-proxy do in their sync loops. `drift` compares what our components
wrote with what the kernel holds (and changes nothing); `healer` watches for changes and mends; `pauses` says what is
to stay broken. `faults` breaks things on purpose and pauses the healing of just those.
"""
