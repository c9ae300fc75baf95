"""The namespaces a packet may cross, each with a way to run something in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, ParamSpec, TypeVar

from lightkube.resources.core_v1 import Pod

from ...api.errors import StatusError, bad_request
from ...boot.live import Live
from ...kernel.netns import NETNS_DIR, Netns, inside
from ...runtime.cri import Sandbox

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["pod", "node", "fabric", "outside"]


@dataclass
class Place:
    """A network namespace of the cluster. `fd` of a pod's is ours to close; the others' are their threads'."""

    name: str
    """"default/client", "node-1", "fabric", "outside"."""
    kind: Kind
    netns: Netns
    """Whose thread works for it: its own, or the one of the pod's node."""
    fd: int
    pod: Pod | None = field(default=None, repr=False)
    """Who asks from there: also a pod on the host network, whose place is its node's."""
    sandbox: Sandbox | None = field(default=None, repr=False)
    """The pod's."""

    @property
    def who(self) -> str:
        """Whose files (resolv.conf) count: the pod's, also of one on the host network; else the place's name."""
        meta = self.pod.metadata if self.pod else None
        return f"{meta.namespace}/{meta.name}" if meta else self.name

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a quick function inside."""
        if self.kind == "pod":
            return await self.netns.run(lambda: inside(self.fd, self.netns.fd, function, *args, **kwargs))
        return await self.netns.run(function, *args, **kwargs)

    def close(self) -> None:
        if self.kind == "pod":
            os.close(self.fd)


class Places:
    """Opens places by name, once each."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._pods: dict[str, Place] = {}
        shared = {"fabric": live.fabric, "outside": live.outside}
        self.shared = {n: Place(n, "fabric" if n == "fabric" else "outside", ns, ns.fd) for n, ns in shared.items()}
        self._kubelets = {}  # of now: a node may go while a trace goes on
        for name in live.nodes.names():
            agents = live.nodes.agents(name)
            self.shared[name] = Place(name, "node", agents.netns, agents.netns.fd)
            self._kubelets[name] = agents.kubelet

    def source(self, text: str, namespace: str) -> Place:
        """A pod ("client", "shop/client", "pod/client", "shop/pod/client"), a node, "outside" or "fabric".

        Raises StatusError: no such pod, or it does not run.
        """
        if text in self.shared:
            return self.shared[text]
        parts = [part for part in text.split("/") if part not in ("pod", "pods", "po")]
        if not 1 <= len(parts) <= 2:
            raise bad_request(f"no such source {text!r}: a pod (NAME or NAMESPACE/NAME), a node, outside or fabric")
        pod = self._live.client.get(Pod, parts[-1], parts[0] if len(parts) == 2 else namespace)
        place = self.of(pod)
        if place is None:
            phase = (pod.status.phase if pod.status else None) or "Pending"
            raise StatusError(409, "Conflict", f'pod "{text}" has no network to send from: it is {phase}')
        return place

    def of(self, pod: Pod) -> Place | None:
        """The place of a pod; its node for one on the host network; None if it has none (yet)."""
        assert pod.metadata and pod.metadata.name and pod.metadata.namespace and pod.spec
        node, name = pod.spec.nodeName or "", f"{pod.metadata.namespace}/{pod.metadata.name}"
        if node not in self.shared or not (pod.status and pod.status.podIP):
            return None
        # by its uid: a predecessor of the same name, force-deleted, may still be ending, and holds the plain name
        sandbox = self._kubelets[node].sandbox(pod.metadata.uid or "")
        if pod.spec.hostNetwork:
            return replace(self.shared[node], pod=pod, sandbox=sandbox)
        if sandbox is None:
            return None
        if name not in self._pods:
            try:
                fd = os.open(NETNS_DIR / sandbox.netns, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            self._pods[name] = Place(name, "pod", self.shared[node].netns, fd, pod, sandbox)
        return self._pods[name]

    def close(self) -> None:
        for place in self._pods.values():
            place.close()
