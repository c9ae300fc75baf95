"""kube-proxy for one node: watches Services and EndpointSlices and keeps the node's rules equal to them.

A change marks its Service; one turn of the loop renders all marked Services, compares with what was written for them
and writes the difference in one transaction, so that the cost is that of the change. At start, after a failed write,
and on `resync`, the comparison is with the kernel itself: a restarted controller finds its rules and writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..config import PROXY_MODES, ClusterConfig
from ..kernel import sysctl
from ..kernel.netns import Netns
from ..reconcile import Reconciler
from ..store.client import Change, Client
from .announce import announce
from .backend import Backend, backend
from .health import HealthServers
from .model import SERVICE_NAME, Node, ServicePort, service_ports
from .rules import Difference, Entry, Rules
from .stale import flush_stale
from .syncs import Syncs

# Without route_localnet, `curl localhost:30080` on the node would not reach a node port.
SYSCTLS = {"net.ipv4.conf.all.route_localnet": 1}


Snapshot = dict[str, tuple[Service | None, list[EndpointSlice]]]  # by namespace/name


class Proxier:
    """One node's proxy. `run` works until cancelled and leaves the rules in place; `remove` takes them away."""

    def __init__(
        self, config: ClusterConfig, node_name: str, node_ip: str, client: Client, netns: Netns, mode: str
    ) -> None:
        """`mode` is iptables or nftables; `netns` the node's namespace."""
        self.node = Node(node_name, node_ip, config.pod_cidr)
        self._client, self._netns = client, netns
        self._backend: Backend = backend(mode)
        self._other = backend(*(set(PROXY_MODES) - {mode}))
        self._services: dict[str, Service] = {}  # by namespace/name, as the next two
        self._slices: dict[str, dict[str, EndpointSlice]] = {}
        self._ports: dict[str, list[ServicePort]] = {}  # as written to the kernel
        self._rules: dict[str, Rules] = {}
        self._dirty: dict[str, None] = {}
        self._trusted = False  # whether _rules is what the kernel holds
        self._turn = asyncio.Lock()
        self.syncs = Syncs()
        self.halted = False  # by a fault: see `halt`
        self._synced = asyncio.Event()
        self._health = HealthServers(node_name, netns)
        self._loop: Reconciler[str] = Reconciler(f"proxy {node_name}", self._reconcile)

    async def run(self) -> None:
        """Until cancelled; the rules stay."""
        ends = [
            self._client.watch(Service, self._service_changed),
            self._client.watch(EndpointSlice, self._slice_changed),
        ]
        self._loop.mark("rules")
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()
            self._health.close()
            self._backend.close()

    async def synced(self) -> None:
        """Wait until the node has rules for all Services that were there at start."""
        await self._synced.wait()

    async def settle(self) -> None:
        """Wait until every change so far is in the kernel."""
        await self._loop.settle()

    async def resync(self) -> bool:
        """Compare with the kernel and mend what differs. Whether anything did."""
        async with self._turn:
            return await self._from_kernel()

    async def differences(self) -> dict[str, Difference]:
        """What the kernel holds otherwise than was written here: by Service, and "base" and "stale" for the rest.

        A halted proxy is compared with what it should have written. {} while a change is on its way.
        """
        if self.halted:
            keys = {*self._services, *self._rules}
            return await self._netns.run(self._audit, self._snapshot(keys))
        async with self._turn:
            return await self._netns.run(self._audit, None) if self._trusted and not self._dirty else {}

    async def mend(self, differences: Iterable[Difference]) -> None:
        """Write what `differences` found, or a part of it."""
        async with self._turn:
            await self._netns.run(self._backend.write, list(differences))

    def entries_of(self, service: str) -> list[Entry]:
        """The lines in shared places that were written for a Service (namespace/name)."""
        return list(self._rules.get(service, Rules()).entries)

    def parts(self) -> dict[str, Rules]:
        """All that was written here: "base", and by Service (namespace/name)."""
        return {"base": self._backend.base(self.node), **self._rules}

    def ports_of(self, service: str) -> list[ServicePort]:
        """The ports of a Service as they were written."""
        return list(self._ports.get(service, ()))

    def render(self, ports: Iterable[ServicePort]) -> Rules:
        """What is written for ports here. Pure."""
        return self._backend.render(ports, self.node)

    def rules_total(self) -> dict[str, int]:
        """How many rules of ours each iptables table holds."""
        total: dict[str, int] = {}
        for part in self.parts().values():
            for (table, *_), size in [*((c, len(b)) for c, b in part.chains.items()), *((e, 1) for e in part.entries)]:
                total[table] = total.get(table, 0) + size
        return total

    async def halt(self) -> None:
        """Stop following Services: the rules stay as they are. Idempotent; returns when what was under way is done."""
        self.halted = True
        async with self._turn:
            pass

    def go_on(self) -> None:
        """After `halt`: catch up, from what the kernel holds."""
        if self.halted:
            self.halted, self._trusted = False, False
            self._loop.mark("rules")

    async def remove(self) -> None:
        """Take every rule of ours out of the node. Others' rules, also in FORWARD, stay."""
        async with self._turn:
            self._trusted = False
            self._rules, self._ports = {}, {}
            await self._netns.run(self._erase, self._backend)
            await self._netns.run(announce, {}, self.node.name, self.node.ip)
            self._health.close()
            self._backend.close()

    # -- what changed ------------------------------------------------------------------------------------------------
    def _service_changed(self, change: Change[Service]) -> None:
        assert change.new.metadata is not None
        self.syncs.service_changes += 1
        key = f"{change.new.metadata.namespace}/{change.new.metadata.name}"
        if change.type == "DELETED":
            self._services.pop(key, None)
        else:
            self._services[key] = change.new
        self._mark(key)

    def _slice_changed(self, change: Change[EndpointSlice]) -> None:
        self.syncs.endpoint_changes += 1
        for version in (change.old, change.new):
            metadata = version.metadata if version else None
            service = ((metadata.labels if metadata else None) or {}).get(SERVICE_NAME)
            if version is None or metadata is None or not service:
                continue
            key, name = f"{metadata.namespace}/{service}", metadata.name or ""
            slices = self._slices.setdefault(key, {})
            if version is change.new and change.type != "DELETED":
                slices[name] = version
            else:
                slices.pop(name, None)
            if not slices:
                del self._slices[key]
            self._mark(key)

    def _mark(self, key: str) -> None:
        self._dirty[key] = None
        self._loop.mark("rules")

    # -- making it so ------------------------------------------------------------------------------------------------
    async def _reconcile(self, _: str) -> None:
        async with self._turn:
            if self.halted:
                return  # `go_on` marks anew
            if not self._trusted:
                with self.syncs.measured():
                    await self._from_kernel()
                self._synced.set()
            elif self._dirty:
                with self.syncs.measured():
                    await self._changes()

    async def _from_kernel(self) -> bool:
        dirty, self._dirty, self._trusted = self._dirty, {}, False
        keys = {*self._services, *dirty}
        ports, rules, changed = await self._netns.run(self._repair, self._snapshot(keys))
        before, self._ports, self._rules, self._trusted = self._ports, ports, rules, True
        await self._follow(before, ports, anew=True)
        return changed

    async def _changes(self) -> None:
        dirty, self._dirty = list(self._dirty), {}
        before = {key: self._ports.get(key, []) for key in dirty}
        self._trusted = False  # until the write is known to have succeeded
        ports, rules = await self._netns.run(self._write_changes, self._snapshot(dirty))
        self._trusted = True
        for key in dirty:
            if ports[key]:
                self._ports[key], self._rules[key] = ports[key], rules[key]
            else:
                self._ports.pop(key, None)
                self._rules.pop(key, None)
        await self._follow(before, ports)

    async def _follow(
        self, before: dict[str, list[ServicePort]], after: dict[str, list[ServicePort]], *, anew: bool = False
    ) -> None:
        """What goes with the rules: stale UDP flows, health check servers, load balancer addresses."""
        await self._netns.run(flush_stale, before, after)
        await self._health.update(before, after)
        if anew or any(p.load_balancer_ips for ports in (*before.values(), *after.values()) for p in ports):
            await self._netns.run(announce, self._load_balanced(), self.node.name, self.node.ip)

    def _load_balanced(self) -> dict[str, Service]:
        return {key: s for key, s in self._services.items() if s.spec and s.spec.type == "LoadBalancer"}

    def _snapshot(self, keys: Iterable[str]) -> Snapshot:
        return {key: (self._services.get(key), list(self._slices.get(key, {}).values())) for key in keys}

    # -- on the node's thread -----------------------------------------------------------------------------------------
    def _render(
        self, snapshot: Snapshot, found: Rules | None = None
    ) -> tuple[dict[str, list[ServicePort]], dict[str, Rules]]:
        ports = {key: service_ports(s, slices, self.node) if s else [] for key, (s, slices) in snapshot.items()}
        rendered = {key: self._backend.render(p, self.node) for key, p in ports.items()}
        return ports, self._backend.placed(rendered, found)

    def _write_changes(self, snapshot: Snapshot) -> tuple[dict[str, list[ServicePort]], dict[str, Rules]]:
        base, nothing, delta = self._backend.base(self.node), Rules(), self._backend.delta
        ports, rules = self._render(snapshot)
        changes = [delta(self._rules.get(key, nothing), want) for key, want in rules.items()]
        self._backend.write([delta(base, self._backend.base(self.node)), *changes])
        return ports, rules

    def _audit(self, snapshot: Snapshot | None) -> dict[str, Difference]:
        written = self._rules if snapshot is None else self._render(snapshot)[1]
        wanted = {"base": self._backend.base(self.node), **written}
        stale, *todo, nobodys = self._differences(self._backend, self._backend.read(), list(wanted.values()))
        found = {"stale": stale, **dict(zip(wanted, todo, strict=True)), "stale chains": nobodys}
        return {part: difference for part, difference in found.items() if difference}

    def _repair(self, snapshot: Snapshot) -> tuple[dict[str, list[ServicePort]], dict[str, Rules], bool]:
        sysctl.ensure(SYSCTLS)
        self._erase(self._other)
        found = self._backend.read()
        ports, rules = self._render(snapshot, found)
        todo = self._differences(self._backend, found, [self._backend.base(self.node), *rules.values()])
        self._backend.write(todo)
        present = {key for key, of in ports.items() if of}
        return {k: ports[k] for k in present}, {k: rules[k] for k in present}, any(todo)

    def _erase(self, of: Backend) -> None:
        """Of the other mode nothing may be left from before: both would translate, the first one wins."""
        if of.present():
            of.write(self._differences(of, of.read(), []))
            of.close()

    @staticmethod
    def _differences(of: Backend, have: Rules, wanted: list[Rules]) -> list[Difference]:
        """From what the kernel has to `wanted`, part by part; jumps of nobody go first, chains of nobody last."""
        nothing = Rules()
        chains, entries = dict(have.chains), dict(have.entries)
        todo = []
        for want in wanted:
            found = Rules(
                {name: chains.pop(name) for name in want.chains if name in chains},
                {e: None for e in want.entries if e in have.entries},
            )
            for entry in found.entries:
                entries.pop(entry, None)
            todo.append(of.delta(found, want))
        first = of.delta(Rules({}, entries), nothing)
        return [first, *todo, of.delta(Rules(chains), nothing)]
