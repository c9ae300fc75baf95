"""Established flows that a policy now forbids are cut, and an address that changes hands starts with no flow at all.

Replies pass by conntrack, so a flow once let in would outlive the policy that let it in. After every change the
entries of the addresses it touched are judged again, by the evaluator; a forbidden one gets `CUT_MARK`, on which
`KUBE-NWPLCY-CUT` drops both directions, and loses it when a later policy allows it. Deleting the entry instead would
let the next *reply* found the flow anew, the other way round, past the policy.
"""

from __future__ import annotations

import functools
from pathlib import Path

from ..kernel import ctmark
from ..kernel.ctmark import Flow
from ..kernel.netns import Netns
from .evaluate import Endpoint, evaluate
from .index import PolicyIndex
from .render import CUT_MARK


class FlowGuard:
    """For one node: who had which address when its flows were last looked at. `with` it: a thread in the namespace."""

    def __init__(self, index: PolicyIndex, node: str, node_ips: frozenset[str], netns: Netns) -> None:
        self._index, self._node, self._node_ips, self._netns = index, node, node_ips, netns
        self._own: Netns | None = None
        self._owners: dict[str, str] = {}  # address -> uid

    def __enter__(self) -> None:
        self._own = Netns(f"{self._netns.name}.flows", Path(f"/proc/self/fd/{self._netns.fd}"))

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    async def check(self, addresses: set[str], *, all_of_them: bool = False) -> None:
        """Judge the flows of `addresses` anew. One that is new here has none, unless we have just started."""
        left, known = set(), set()
        for ip in addresses:
            owner = self._index.owner(ip)
            before = self._owners.get(ip)
            if before is not None and (owner is None or owner.uid != before):
                left.add(ip)
            elif before is not None or all_of_them:
                known.add(ip)
        if left or known:
            await self._mend(left, known)
        for ip in addresses:  # only now: after a failure the same ones have still left
            if (owner := self._index.owner(ip)) is None:
                self._owners.pop(ip, None)
            else:
                self._owners[ip] = owner.uid

    async def _mend(self, left: set[str], known: set[str]) -> None:
        thread = self._own or self._netns
        flows = await thread.run(ctmark.flows, left | known)
        gone = [f for f in flows if f.source in left or f.destination in left]
        cut: list[Flow] = []
        restored: list[Flow] = []
        allowed = functools.cache(self._allowed)
        for flow in flows:
            if flow.closed or flow.source in left or flow.destination in left:
                continue
            is_cut = bool(flow.mark & CUT_MARK)
            if allowed(flow.source, flow.destination, flow.port, flow.protocol) == is_cut:
                (restored if is_cut else cut).append(flow)
        if gone or cut or restored:
            await thread.run(_write, gone, cut, restored)

    def _allowed(self, source: str, destination: str, port: int, protocol: str) -> bool:
        """As far as this node decides: egress of its own pods, ingress to them."""
        index = self._index
        ends = self._endpoint(source), self._endpoint(destination)
        verdict = evaluate(index.objects.values(), index.namespaces, *ends, port, protocol)
        here = [end.pod is not None and end.pod.node == self._node for end in ends]
        return (verdict.egress.allowed or not here[0]) and (verdict.ingress.allowed or not here[1])

    def _endpoint(self, ip: str) -> Endpoint:
        return Endpoint(ip, self._index.owner(ip), self._node if ip in self._node_ips else None)


def _write(gone: list[Flow], cut: list[Flow], restored: list[Flow]) -> None:
    ctmark.delete(gone)
    ctmark.set_mark(cut, CUT_MARK, CUT_MARK)
    ctmark.set_mark(restored, 0, CUT_MARK)
