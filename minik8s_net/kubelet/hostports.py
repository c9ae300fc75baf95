"""The hostPorts of a pod, as the CNI takes them. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports
"""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod

from ..cni.hostports import HostPort


def host_ports(pod: Pod) -> list[HostPort]:
    """None for a pod on its node's own network: there a container's port is the node's already."""
    if pod.spec is None or pod.spec.hostNetwork:
        return []
    sidecars = [c for c in pod.spec.initContainers or () if c.restartPolicy == "Always"]
    return [
        HostPort(port.hostPort, port.containerPort, (port.protocol or "TCP").lower(), port.hostIP or "")
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports or ()
        if port.hostPort
    ]
