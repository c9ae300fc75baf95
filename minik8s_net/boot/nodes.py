"""Nodes come and go with their Node objects: network namespace, wiring, and the three agents of each.

`minik8s node add` creates a Node, `node rm` deletes it; everything else follows here, level-triggered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from lightkube.resources.core_v1 import Node, Pod

from ..apiserver.pki import Pki
from ..apiserver.registry import Registry
from ..apiserver.tokenrequest import issue
from ..apiserver.tokens import Tokens
from ..cni.fabric import ensure_ways_to_pods
from ..cni.node import ensure_node, remove_node
from ..cni.peers import ensure_peers
from ..cni.pod import Cni
from ..config import ClusterConfig, ConfigError
from ..kernel.netns import NETNS_DIR, Netns
from ..kubelet.kubelet import Kubelet
from ..kubelet.kubelets import NodeKubelets
from ..kubelet.leftovers import remove_folders, remove_pods
from ..policy.enforcer import Enforcer
from ..policy.index import PolicyIndex
from ..proxy.proxier import Proxier
from ..reconcile import Reconciler
from ..runtime.client import RuntimeClient
from ..state import State
from ..store.client import Change

log = logging.getLogger(__name__)


@dataclass
class Agents:
    """What runs on one node."""

    index: int
    netns: Netns
    kubelet: Kubelet
    proxier: Proxier
    enforcer: Enforcer
    tasks: list[asyncio.Task[None]]


class NodeManager:
    """Makes the kernel and the agents equal to the stored Nodes."""

    def __init__(
        self, config: ClusterConfig, state: State, client: Registry, runtime: RuntimeClient, kubelets: NodeKubelets,
        policies: PolicyIndex, fabric: Netns, outside: Netns, tokens: Tokens, pki: Pki,
    ) -> None:  # fmt: skip
        self._config, self._state, self._client, self._runtime = config, state, client, runtime
        self._kubelets, self._policies, self._fabric, self._outside = kubelets, policies, fabric, outside
        self._tokens, self._ca = tokens, pki.ca.read_text()
        self._agents: dict[str, Agents] = {}
        self._leaving: dict[str, Agents] = {}  # of nodes that are removed, until nothing of them is left
        self._loop: Reconciler[str] = Reconciler("nodes", self._reconcile)
        self.cni = Cni(config, state)

    def names(self) -> list[str]:
        """Nodes that are wired and have their agents, sorted."""
        return sorted(self._agents)

    def netns(self) -> list[Netns]:
        """The network namespaces of those nodes."""
        return [agents.netns for agents in self._agents.values()]

    def each(self) -> Iterator[tuple[str, Agents]]:
        """Nodes and what runs on them, for callers that wait in between: one that has gone meanwhile is left out."""
        for name in self.names():
            if (agents := self._agents.get(name)) is not None:
                yield name, agents

    def agents(self, name: str) -> Agents:
        """What runs on a node. Raises KeyError."""
        return self._agents[name]

    async def run(self) -> None:
        """Until cancelled."""
        await self._collect()
        self._client.watch(Node, self._changed)
        await self._loop.run()

    async def synced(self) -> None:
        """Every stored node is wired and its agents run."""
        while any(self._is_ours(n) and n not in self._agents for n in self._stored()):
            await asyncio.sleep(0.002)

    def _stored(self) -> set[str]:
        return {node.metadata.name or "" for node in self._client.list(Node) if node.metadata}

    def _is_ours(self, name: str) -> bool:
        """Others are kept, NotReady, like a machine that never joined."""
        try:
            return bool(self._config.node_index(name))
        except ConfigError:
            return False

    def _changed(self, change: Change[Node]) -> None:
        assert change.new.metadata and change.new.metadata.name
        name = change.new.metadata.name
        if change.type == "DELETED" or name not in self._agents:
            self._loop.mark(name)

    async def _reconcile(self, name: str) -> None:
        wanted = self._client.find(Node, name) is not None
        if not wanted and name in self._agents:
            self._leaving[name] = self._agents.pop(name)
            self._kubelets.remove(name)
        if name in self._leaving:  # also what failed half-way the last time
            await self._remove(name)
        if wanted and name not in self._agents and self._is_ours(name):
            await self._add(name)

    async def _add(self, name: str) -> None:
        index = self._config.node_index(name)
        await self._runtime.ensure_netns(self._config.netns(name))
        netns = Netns(self._config.netns(name))
        try:
            await ensure_node(self._config, index, netns, self._fabric)
            self._agents[name] = self._start_agents(name, index, netns)
        except BaseException:
            netns.close()  # the next try opens it again
            raise
        self._kubelets.add(name, self._agents[name].kubelet)
        await self._wire_peers()

    def _start_agents(self, name: str, index: int, netns: Netns) -> Agents:
        node_ip = str(self._config.node_ip(index))
        proxier = Proxier(self._config, name, node_ip, self._client, netns, self._config.proxy_mode)
        enforcer = Enforcer(self._config, name, self._policies, netns)
        kubelet = Kubelet(
            self._config, self._state, name, self._client, self._runtime, self.cni.at(netns), netns,
            enforcer.ready, self._token, self._ca,
        )  # fmt: skip
        tasks = [asyncio.create_task(part.run(), name=f"{name}:{type(part).__name__}")
                 for part in (enforcer, proxier, kubelet)]  # fmt: skip
        return Agents(index, netns, kubelet, proxier, enforcer, tasks)

    async def _remove(self, name: str) -> None:
        agents = self._leaving[name]
        for task in agents.tasks:
            task.cancel()
        await asyncio.gather(*agents.tasks, return_exceptions=True)  # however they end
        await agents.kubelet.remove_pods()  # now that nobody makes new ones
        await self._unplug(name, agents.index, agents.netns)
        del self._leaving[name]
        await self._wire_peers()

    async def _unplug(self, name: str, index: int, netns: Netns) -> None:
        """Last, so that as long as there is anything of a node, its namespace tells of it."""
        await remove_node(self._config, index, netns, self._fabric)
        await self._runtime.remove_netns(self._config.netns(name))
        netns.close()

    async def _collect(self) -> None:
        """What a controller before us did not get to: nodes that were removed, and folders that no pod has."""
        names = {path.name.removeprefix(f"{self._config.name}.") for path in NETNS_DIR.iterdir()}
        for name in filter(self._is_ours, names - self._stored()):  # the others: fabric, outside, pods
            log.info("%s is no more: what is left of it goes", name)
            try:
                netns = Netns(self._config.netns(name))
            except Exception:
                log.exception("%s could not be entered", name)
                continue
            try:
                await remove_pods(self._runtime, self.cni.at(netns), name, self._state.pods)
                await self._unplug(name, self._config.node_index(name), netns)
            except Exception:  # it is in nobody's way; the next controller tries again
                netns.close()
                log.exception("%s could not be removed", name)
        sandboxes = {sandbox.config.uid for sandbox in await self._runtime.list_pod_sandboxes()}
        pods = {pod.metadata.uid or "" for pod in self._client.list(Pod) if pod.metadata}
        remove_folders(self._state.pods, sandboxes | pods)

    async def _wire_peers(self) -> None:
        """Every node knows the way to every other node's pods: of all there are to be, for one that has not had its
        turn after a restart may well have pods that talk."""
        indexes = sorted(self._config.node_index(name) for name in self._stored() if self._is_ours(name))
        for agents in self._agents.values():
            peers = [i for i in indexes if i != agents.index]
            await ensure_peers(self._config, agents.netns, agents.index, peers)
        await ensure_ways_to_pods(self._config, self._fabric, self._outside, indexes)

    def _token(self, pod: Pod, audience: str, seconds: int) -> str:
        """What the kubelet asks the API server for. Raises StatusError."""
        meta = pod.metadata
        assert meta and meta.namespace and pod.spec
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": seconds, "boundObjectRef": bound}
        account = pod.spec.serviceAccountName or "default"
        return str(issue(self._client, self._tokens, meta.namespace, account, spec)["status"]["token"])
