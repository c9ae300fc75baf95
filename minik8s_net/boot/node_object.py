"""The Node object that makes a node exist: namespace, bridge, kubelet, proxy and policy follow from it. Pure."""

from __future__ import annotations

import platform
from typing import Any

from ..config import ClusterConfig


def node_object(config: ClusterConfig, index: int) -> dict[str, Any]:
    """The Node for node-`index`, with its share of the pod network."""
    name = config.node_name(index)
    cidr = str(config.node_pod_cidr(index))
    machine = platform.machine()
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
    }
