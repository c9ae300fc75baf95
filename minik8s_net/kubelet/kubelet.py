"""The kubelet of one node: which pods are here, and a worker for each.

Level-triggered: a change of the pod's object, of a container, of a probe's verdict or of a ConfigMap it mounts marks
the pod's uid; its worker then looks at the present state and mends it. At start it adopts what a kubelet before it
left running, and removes what has no pod any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from lightkube.resources.core_v1 import ConfigMap, Node, Pod, Secret

from ..api.errors import StatusError
from ..config import ClusterConfig
from ..kernel.netns import Netns
from ..reconcile import Reconciler
from ..runtime.client import RuntimeClient
from ..runtime.cri import CriError, Sandbox
from ..state import State
from ..store.client import Change, Client
from ..store.events import EventRecorder
from . import node
from .host import Host, PodNetwork
from .leftovers import remove_pods, remove_sandbox
from .pod import PodWorker
from .tokens import Ask, PodTokens

log = logging.getLogger(__name__)
SILENCE = 0.2  # seconds between looks whether a lost node is back
STATUS_EVERY = 300.0  # seconds between full node statuses without a change


class Kubelet:
    """`run` until cancelled; pods live on afterwards and are adopted by the next kubelet of this node."""

    def __init__(
        self,
        config: ClusterConfig,
        state: State,
        node_name: str,
        client: Client,
        runtime: RuntimeClient,
        cni: PodNetwork,
        node_netns: Netns,
        network_ready: Callable[[Pod], Awaitable[None]],
        tokens: Ask | None = None,
        ca_pem: str = "",
    ) -> None:
        self.node_name, self.client, self.runtime, self.netns = node_name, client, runtime, node_netns
        self.silent = False  # by a fault: the node says nothing any more
        self._workers: dict[str, PodWorker] = {}
        self._pods: dict[str, Pod] = {}  # by uid, of this node
        self._users: dict[tuple[str, str, str], set[str]] = {}  # kind, namespace, name -> uids that mount or name it
        self._ends: list[Callable[[], None]] = []
        # a worker per pod, as the kubelet has: a pod that waits out its grace period holds nobody up
        self._reconciler: Reconciler[str] = Reconciler(f"kubelet {node_name}", self._sync, workers=2 * node.MAX_PODS)
        self.host = Host(
            config=config,
            pods_root=state.pods,
            node_name=node_name,
            node_ip=str(config.node_ip(config.node_index(node_name))),
            client=client,
            runtime=runtime,
            network=cni,
            netns=node_netns,
            network_ready=network_ready,
            tokens=PodTokens(tokens) if tokens else None,
            ca_pem=ca_pem,
            events=EventRecorder(client, "kubelet", node_name),
            mark=self._reconciler.mark,
            mark_after=self._reconciler.mark_after,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        self._ends.append(self.client.watch(Pod, self._on_pod))
        await self._adopt()
        self._ends.append(self.client.watch(ConfigMap, lambda c: self._on_data("configmap", c.new)))
        self._ends.append(self.client.watch(Secret, lambda c: self._on_data("secret", c.new)))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeat())
                group.create_task(self._follow_runtime())
                group.create_task(self._reconciler.run())
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End watches and probes; containers go on."""
        while self._ends:
            self._ends.pop()()
        for worker in self._workers.values():
            worker.detach()

    async def remove_pods(self) -> None:
        """The node has left the cluster: nothing of its pods stays. Call after `run` has been cancelled."""
        await remove_pods(self.runtime, self.host.network, self.node_name, self.host.pods_root)
        for uid in self._workers:  # also of pods that had no sandbox yet
            self.host.volumes(uid).tear_down()

    def wired(self) -> list[tuple[Pod, Sandbox]]:
        """The pods of this node that stand on the pod network now: wired up, and not on their way out."""
        return [
            (pod, worker.sandbox)
            for uid, worker in self._workers.items()
            if (pod := self._pods.get(uid)) is not None
            and worker.sandbox is not None
            and worker.address
            and worker.sandbox.config.netns is None
            and pod.metadata is not None
            and pod.metadata.deletionTimestamp is None
        ]

    def sandbox(self, uid: str) -> Sandbox | None:
        """The pod's sandbox, while it has one: nobody else knows the name of its namespace."""
        worker = self._workers.get(uid)
        return worker.sandbox if worker else None

    def knows(self, uid: str) -> bool:
        """Whether anything of this pod is left on the node."""
        return uid in self._workers

    async def settle(self) -> None:
        """Wait until no pod of this node has anything left to do at once."""
        await self._reconciler.settle()

    # -- what marks a pod ----------------------------------------------------------------------------------------
    def _on_pod(self, change: Change[Pod]) -> None:
        pod = change.new
        if pod.spec is None or pod.spec.nodeName != self.node_name or pod.metadata is None:
            return
        uid = pod.metadata.uid or ""
        if change.type == "DELETED":
            self._pods.pop(uid, None)
            self._index(pod, add=False)
            if worker := self._workers.get(uid):
                worker.hasten()
        else:
            if uid not in self._pods:
                self._index(pod, add=True)
            self._pods[uid] = pod
            if change.old is not None and _same_wish(change.old, pod):
                return  # our own status write
            if worker := self._workers.get(uid):
                self._tell(worker, pod)
        self._reconciler.mark(uid)

    def _tell(self, worker: PodWorker, pod: Pod) -> None:
        """What a worker must know at once, also in the middle of a sync: a shorter grace, other labels to show."""
        meta = pod.metadata
        assert meta
        if meta.deletionTimestamp and meta.deletionGracePeriodSeconds is not None:
            worker.hasten(float(meta.deletionGracePeriodSeconds))
        worker.refresh_volumes()

    def _index(self, pod: Pod, *, add: bool) -> None:
        assert pod.metadata
        for kind, name in _mounted(pod):
            users = self._users.setdefault((kind, pod.metadata.namespace or "", name), set())
            (users.add if add else users.discard)(pod.metadata.uid or "")

    def _on_data(self, kind: str, obj: ConfigMap | Secret) -> None:
        meta = obj.metadata
        for uid in self._users.get(
            (kind, (meta.namespace if meta else "") or "", (meta.name if meta else "") or ""), ()
        ):
            if worker := self._workers.get(uid):
                worker.refresh_volumes()
            self._reconciler.mark(uid)

    async def _follow_runtime(self) -> None:
        """Containers that start or end mark their pod. A runtime that went away is looked for until it is back."""
        while True:
            async for status in self.runtime.events():
                uid = status.sandbox_id.rpartition("-")[0]
                if uid in self._workers:
                    self._reconciler.mark(uid)
            log.warning("%s: the runtime's events ended; connecting again", self.node_name)
            await asyncio.sleep(0.2)
            try:
                await self.runtime.connect()
            except (CriError, OSError) as error:
                log.debug("%s: runtime: %s", self.node_name, error)
                continue
            for uid in self._workers:
                self._reconciler.mark(uid)

    # -- the loop ------------------------------------------------------------------------------------------------
    async def _sync(self, uid: str) -> None:
        pod, worker = self._pods.get(uid), self._workers.get(uid)
        if worker is None:
            if pod is None:
                return
            worker = self._workers[uid] = PodWorker(self.host, uid)
        await worker.sync(pod)
        if worker.done:
            del self._workers[uid]
            if self.host.tokens:
                self.host.tokens.forget(uid)

    async def _adopt(self) -> None:
        """Give each sandbox of this node to its pod; older attempts, and those without a pod, are removed."""
        newest: dict[str, Sandbox] = {}
        for sandbox in await self.runtime.list_pod_sandboxes():
            if sandbox.config.node != self.node_name:
                continue
            uid = sandbox.config.uid
            older = min(sandbox, newest.get(uid, sandbox), key=lambda s: s.config.attempt)
            newest[uid] = max(sandbox, newest.get(uid, sandbox), key=lambda s: s.config.attempt)
            if older is not newest[uid]:
                await self._remove(older)
        for uid, sandbox in newest.items():
            if uid in self._pods:
                worker = self._workers[uid] = PodWorker(self.host, uid)
                worker.adopt(sandbox)
                for status in await self.runtime.list_containers(sandbox.id):
                    if status.state == "created":  # our predecessor died before it could start it
                        await self.runtime.remove_container(status.id)
            else:
                await self._remove(sandbox)
                self.host.volumes(uid).tear_down()

    async def _remove(self, sandbox: Sandbox) -> None:
        await remove_sandbox(self.runtime, self.host.network, sandbox)

    # -- the node ------------------------------------------------------------------------------------------------
    async def _heartbeat(self) -> None:
        posted = 0.0
        while True:
            if self.silent:
                await asyncio.sleep(SILENCE)
                continue
            try:
                node.renew_lease(self.client, self.node_name)
                if time.monotonic() - posted > STATUS_EVERY or not posted or self._lost_ready():
                    node.post_status(self.client, self.node_name, self.host.node_ip)
                    posted = time.monotonic()
            except StatusError as error:
                log.warning("%s: heartbeat: %s", self.node_name, error)
            await asyncio.sleep(node.RENEW_EVERY)
            self._renew_tokens()
            await self._relist()

    def _renew_tokens(self) -> None:
        for uid in self.host.tokens.due() if self.host.tokens else ():
            worker, pod = self._workers.get(uid), self._pods.get(uid)
            if worker and pod and pod.status and pod.status.phase not in ("Succeeded", "Failed"):
                worker.refresh_volumes()
                self._reconciler.mark(uid)

    async def _relist(self) -> None:
        """Sandboxes that went without an event. A runtime that doesn't answer is `_follow_runtime`'s affair."""
        try:
            alive = {s.id for s in await self.runtime.list_pod_sandboxes() if s.ready}
        except CriError:
            return
        for uid, worker in self._workers.items():
            if worker.sandbox is not None and worker.sandbox.id not in alive:
                self._reconciler.mark(uid)

    def _lost_ready(self) -> bool:
        """Node lifecycle gave us up while we were away."""
        found = self.client.find(Node, self.node_name)
        conditions = (found.status.conditions if found and found.status else None) or ()
        return not any(c.type == "Ready" and c.status == "True" for c in conditions)


def _same_wish(old: Pod, new: Pod) -> bool:
    """True where only what the kubelet itself writes (in status) differs."""
    assert old.metadata and new.metadata
    return (
        old.spec == new.spec
        and old.metadata.deletionTimestamp == new.metadata.deletionTimestamp
        and old.metadata.labels == new.metadata.labels
        and old.metadata.annotations == new.metadata.annotations
        and old.metadata.uid == new.metadata.uid
        and _gates(old) == _gates(new)
    )


def _gates(pod: Pod) -> list[str | None]:
    """How its readiness gates stand, which somebody else decides."""
    found = {c.type: c.status for c in (pod.status.conditions if pod.status else None) or ()}
    return [found.get(gate.conditionType) for gate in (pod.spec.readinessGates if pod.spec else None) or ()]


def _mounted(pod: Pod) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets a pod reads: those whose coming or changing concerns it."""
    found: set[tuple[str, str | None]] = set()
    spec = pod.spec
    for volume in (spec.volumes if spec else None) or ():
        parts = (volume.projected.sources if volume.projected else None) or ()
        for source in [volume, *parts]:
            if source.configMap:
                found.add(("configmap", source.configMap.name))
            if source.secret:
                found.add(
                    (
                        "secret",
                        getattr(source.secret, "secretName", None) or getattr(source.secret, "name", None),
                    )
                )
    for container in [*((spec.initContainers if spec else None) or ()), *(spec.containers if spec else ())]:
        for env in container.env or ():
            if env.valueFrom and env.valueFrom.configMapKeyRef:
                found.add(("configmap", env.valueFrom.configMapKeyRef.name))
            if env.valueFrom and env.valueFrom.secretKeyRef:
                found.add(("secret", env.valueFrom.secretKeyRef.name))
        for many in container.envFrom or ():
            if many.configMapRef:
                found.add(("configmap", many.configMapRef.name))
            if many.secretRef:
                found.add(("secret", many.secretRef.name))
    return {(kind, name) for kind, name in found if name}
