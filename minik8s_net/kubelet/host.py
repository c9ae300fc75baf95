"""What every pod of a node is given: its node's address and namespace, and the ways to the API, runtime and CNI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from ..cni.hostports import HostPort
from ..config import ClusterConfig
from ..kernel.netns import Netns
from ..runtime.client import RuntimeClient
from ..store.client import Client
from ..store.events import EventRecorder
from .tokens import PodTokens
from .volumes import Volumes


class PodNetwork(Protocol):
    """The CNI as the kubelet of one node needs it. Both are idempotent; `key` is the sandbox' id."""

    async def add(self, pod_netns: str, key: str, ports: Sequence[HostPort] = ()) -> str:
        """Wire the namespace up, `ports` of the node leading to it; its address, the same for the same key."""

    async def delete(self, pod_netns: str, key: str) -> None:
        """Unwire it and give the address back."""


@dataclass
class Host:
    """One node, as its pods see it. `mark(uid)` asks for a sync of that pod, `mark_after(uid, s)` for a later one."""

    config: ClusterConfig
    pods_root: Path
    node_name: str
    node_ip: str
    client: Client
    runtime: RuntimeClient
    network: PodNetwork
    netns: Netns
    network_ready: Callable[[Pod], Awaitable[None]]
    tokens: PodTokens | None
    ca_pem: str
    events: EventRecorder
    mark: Callable[[str], None]
    mark_after: Callable[[str, float], None]

    def volumes(self, uid: str) -> Volumes:
        return Volumes(self.pods_root / uid, self.client, self.tokens, self.ca_pem, self.node_ip)
