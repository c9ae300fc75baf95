"""What a node says of itself: addresses, capacity, conditions, and its heartbeat (a Lease every ten seconds).

https://kubernetes.io/docs/concepts/architecture/nodes/#node-status
"""

from __future__ import annotations

import os
import platform
import shutil

from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from ..store.client import Client, Json
from ..store.events import micro_timestamp, timestamp
from .fields import memory_bytes

KUBELET_VERSION = "v1.33.0-minik8s"
LEASE_NAMESPACE, LEASE_SECONDS, RENEW_EVERY = "kube-node-lease", 40, 10.0
MAX_PODS = 250
PORT = 10250
_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def post_status(client: Client, name: str, address: str) -> None:
    """Write the Node's status, where there is such a Node."""
    node = client.find(Node, name)
    if node is not None:
        client.patch(Node, name, {"status": node_status(node, name, address)}, subresource="status")


def node_status(node: Node, name: str, address: str) -> Json:
    """The status, with transition times kept from `node`."""
    now = timestamp()
    before = {c.type: c.to_dict() for c in (node.status.conditions if node.status else None) or ()}
    conditions = []
    for kind, status, reason, message in _HEALTHY:
        old = before.pop(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        conditions.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since or now,
                "reason": reason,
                "message": message,
            }
        )
    capacity = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory_bytes() // 1024}Ki",
        "ephemeral-storage": f"{shutil.disk_usage('/').total // 1024}Ki",
        "pods": str(MAX_PODS),
    }
    return {
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [*before.values(), *conditions],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        "nodeInfo": node_info(node),
    }


def node_info(node: Node) -> Json:
    machine = platform.machine()
    uid = (node.metadata.uid if node.metadata else "") or ""
    return {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "bootID": uid,
        "containerRuntimeVersion": "minik8s://0.1",
        "kernelVersion": platform.release(),
        "kubeProxyVersion": KUBELET_VERSION,
        "kubeletVersion": KUBELET_VERSION,
        "machineID": uid.replace("-", ""),
        "operatingSystem": "linux",
        "osImage": _os_image(),
        "systemUUID": uid,
    }


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def renew_lease(client: Client, name: str) -> None:
    """Create or renew the node's Lease; node lifecycle calls a node unreachable 40 s after the last renewal."""
    now = micro_timestamp()
    if client.find(Lease, name, LEASE_NAMESPACE) is not None:
        client.patch(Lease, name, {"spec": {"renewTime": now, "holderIdentity": name}}, LEASE_NAMESPACE)
        return
    node = client.find(Node, name)
    if node is None or node.metadata is None:
        return
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.metadata.uid}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
    }
    client.create(Lease, lease)
