"""One node's enforcer: keeps its chains, sets and bridge entry equal to what the policies say, and stale flows cut.

A change marks the pods it touches; one turn of the loop renders those anew, compares with what was written before and
writes the difference, so that the cost is that of the change. At start, after a failed write and on `resync` the
comparison is with the kernel itself: a restarted controller finds its rules, and traffic never notices.

Established flows are judged after that, by a loop and a thread of their own: tens of thousands of them, which take a
second to list, must not hold up the rules of the next change.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable

from lightkube.resources.core_v1 import Pod

from ..cni.pod import host_ifname
from ..config import ClusterConfig
from ..kernel.ipset import BUSY
from ..kernel.netlink import NetlinkError
from ..kernel.netns import Netns
from ..reconcile import Reconciler
from . import apply
from .flows import FlowGuard
from .index import PolicyIndex
from .model import Key, PodFacts, pod_facts
from .sets import PeerSet
from .table import Program, SetContent, Table, steps

log = logging.getLogger(__name__)
TIDY_AGAIN = 1.0  # seconds
OTHERS_PATIENCE = 1.0  # seconds that `ready` waits for the other nodes to forget the address's former owner


class Enforcer:
    """Policies on one node. `run` works until cancelled and leaves the rules in place; `remove` takes them away."""

    def __init__(
        self,
        config: ClusterConfig,
        node_name: str,
        index: PolicyIndex,
        netns: Netns,
        port_name: Callable[[str], str] = host_ifname,
    ) -> None:
        """`netns` is the node's. `port_name`: a pod's address to its bridge port."""
        self.node = node_name
        number = config.node_index(node_name)
        pod_cidr = config.node_pod_cidr(number)
        own_ips = frozenset(map(str, (config.node_ip(number), pod_cidr.network_address + 1)))
        self._cidr, self._flows = str(pod_cidr), FlowGuard(index, node_name, own_ips, netns)
        self._judge: dict[str, None] = {}  # addresses whose rules are in, and whose flows are not judged yet
        self._judge_all = False
        self._index, self._netns, self._port_name = index, netns, functools.cache(port_name)
        self._programs: dict[Key, Program] = {}
        self._sets: dict[str, tuple[int, SetContent]] = {}  # with the live set's version it was taken at
        self._written: Table | None = None  # None: unknown, look at the kernel
        self._dirty: dict[Key, None] = {}
        self._needless: dict[str, None] = {}  # sets that are to be destroyed
        self._addresses: dict[str, None] = {}  # whose flows may have become forbidden, or allowed again
        self._wanted = self._ruled = self._done = 0  # turns asked for; whose rules are in; whose flows are judged
        self._turned: asyncio.Event = asyncio.Event()
        self._loop: Reconciler[str] = Reconciler(f"policy {node_name}", self._reconcile)
        self._flow_loop: Reconciler[str] = Reconciler(f"flows {node_name}", self._reconcile_flows)
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        end = self._index.listen(self._changed)
        self._index.enforcers[self.node] = self
        self._dirty = dict.fromkeys(pod.key for pod in self._index.on_node(self.node))
        self._mark()
        try:
            with self._flows:
                async with asyncio.TaskGroup() as loops:
                    loops.create_task(self._loop.run())
                    loops.create_task(self._flow_loop.run())
        finally:
            end()
            self._index.enforcers.pop(self.node, None)

    async def synced(self) -> None:
        """Every change committed before this call is enforced, and no flow is left that it forbids."""
        wanted = self._wanted
        while self._done < max(wanted, 1):
            self._turned.clear()
            await self._turned.wait()

    async def ready(self, pod: Pod) -> None:
        """Return when the pod's address, with its present policies, is enforced on this node, and the other nodes have
        forgotten who had the address before. hostNetwork pods need nothing. Raises LookupError if it has gone."""
        assert pod.metadata is not None and pod.spec is not None
        if pod.spec.hostNetwork:
            return
        facts = pod_facts(pod)
        await self.synced()
        if facts is None or self._written is None or facts.ip not in self._written.pods:
            raise LookupError(
                f"pod {pod.metadata.namespace}/{pod.metadata.name} has no address on {self.node} any more"
            )
        others = [e.synced() for e in self._index.enforcers.values() if e is not self]
        if others:
            tasks = [asyncio.ensure_future(o) for o in others]
            _, late = await asyncio.wait(tasks, timeout=OTHERS_PATIENCE)
            for task in late:
                task.cancel()

    async def resync(self) -> None:
        """Compare with the kernel itself and mend what differs."""
        self._written = None
        self._mark()
        await self.synced()

    async def written(self) -> Table | None:
        """What the kernel should hold now; None while a change is on its way."""
        async with self._turn:
            return self._written if self._ruled == self._wanted else None

    def pod_of(self, chain: str) -> str:
        """NAMESPACE/NAME of the pod a chain of ours decides for, or ""."""
        programs = (p.pod for p in self._programs.values() if chain in p.chains)
        return next((f"{pod.namespace}/{pod.name}" for pod in programs), "")

    def programs(self) -> list[Program]:
        """Each pod's part of what is written here."""
        return list(self._programs.values())

    async def mend(self, work: Callable[[], None]) -> None:
        """Run `work` on the node's thread while no change is written."""
        async with self._turn:
            await self._netns.run(work)

    async def remove(self) -> None:
        """Take every chain, set and table of ours out of the node."""
        async with self._turn:
            await self._netns.run(apply.remove)
            self._written = None

    # -- the loop ----------------------------------------------------------------------------------------------------
    def _changed(self, pod: PodFacts) -> None:
        if pod.node == self.node or pod.key in self._programs:
            self._dirty[pod.key] = None
        self._addresses[pod.ip] = None
        self._mark()

    def _mark(self) -> None:
        self._wanted += 1
        self._loop.mark(self.node)

    async def _reconcile(self, _: str) -> None:
        async with self._turn:
            turn, dirty, addresses = self._wanted, self._dirty, self._addresses
            self._dirty, self._addresses = {}, {}
            try:
                needless = await self._turn_once(dirty)
            except BaseException:
                self._dirty, self._addresses = {**dirty, **self._dirty}, {**addresses, **self._addresses}
                self._written = None
                raise
            self._judge.update(addresses)
            self._ruled = turn
            self._flow_loop.mark(self.node)
            self._needless.update(dict.fromkeys(needless))
            if self._needless and self._written is not None:
                await self._tidy(self._written)

    async def _tidy(self, written: Table) -> None:
        """Destroy sets that no rule matches any more. One that is still in use waits for another turn."""
        sets, self._needless = [name for name in self._needless if name not in written.sets], {}
        try:
            await self._netns.run(apply.tidy, sets)
        except NetlinkError as error:
            if error.errno != BUSY:
                raise
            self._needless = dict.fromkeys(sets)
            self._loop.mark_after(self.node, TIDY_AGAIN)

    async def _reconcile_flows(self, _: str) -> None:
        turn, judge, all_of_them = self._ruled, self._judge, self._judge_all
        self._judge, self._judge_all = {}, False
        try:
            await self._flows.check(set(judge), all_of_them=all_of_them)
        except BaseException:
            self._judge, self._judge_all = {**judge, **self._judge}, self._judge_all or all_of_them
            raise
        self._done = turn
        self._turned.set()

    async def _turn_once(self, dirty: dict[Key, None]) -> list[str]:
        """Returns sets that nothing uses any more: who waits for the rules need not wait until those are gone."""
        for key in dirty:
            self._program(key)
        wanted = self._table()
        written = self._written
        if written is None:
            written = await self._netns.run(apply.read)
            self._judge.update(dict.fromkeys([*(pod.ip for pod in self._index.pods.values()), *written.pods]))
            self._judge_all = True
        todo = steps(written, wanted)
        first = self._written is None
        await self._netns.run(apply.apply if first else apply.enforce, todo)
        if first:
            await self._netns.run(apply.ensure_jumps)
        self._written = wanted
        return [] if first else todo.destroy

    def _program(self, key: Key) -> None:
        pod = self._index.pods.get(key)
        if pod is None or pod.node != self.node or self._index.owner(pod.ip) is not pod:
            self._programs.pop(key, None)
        else:
            self._programs[key] = Program.of(pod, self._index.policies_of(pod))

    def _table(self) -> Table:
        programs = sorted(self._programs.values(), key=lambda p: p.pod.key)
        used = {name: spec for program in programs for name, spec in program.sets.items()}
        self._sets = {name: self._content(name, spec) for name, spec in used.items()}
        pods = {p.pod.ip: self._port_name(p.pod.ip) for p in programs}
        return Table.of(programs, {name: content for name, (_, content) in self._sets.items()}, pods, self._cidr)

    def _content(self, name: str, spec: PeerSet) -> tuple[int, SetContent]:
        live = self._index.sets[name]
        known = self._sets.get(name)
        if known is not None and known[0] == live.version:
            return known
        return live.version, SetContent(spec.type, frozenset(live.members))
