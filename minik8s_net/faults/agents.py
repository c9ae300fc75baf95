"""Faults of what writes the kernel's state: kube-proxy stopped, one of its rules gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..proxy.nfttables import where
from ..proxy.rules import Difference, Entry
from .catalogue import Json
from .mechanism import Mechanism
from .record import Injected
from .targets import service

if TYPE_CHECKING:
    from ..boot.live import Live

SERVICE_JUMPS = (("nat", "KUBE-SERVICES"), ("service-ips",))  # where a Service's own address is looked up


def _is_jump(entry: Entry) -> bool:
    return entry[:2] in SERVICE_JUMPS or (where(entry[0])[1],) in SERVICE_JUMPS


class ProxyStopped(Mechanism):
    """The node's rules stay as they are, whatever Services do."""

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"proxy {parameters['node']} *"]

    async def make(self, live: Live, fault: Injected) -> None:
        await live.nodes.agents(fault.parameters["node"]).proxier.halt()

    async def undo(self, live: Live, fault: Injected) -> None:
        if fault.parameters["node"] in live.nodes.names():
            live.nodes.agents(fault.parameters["node"]).proxier.go_on()


class RuleMissing(Mechanism):
    """The rules by which the Service's address is found are deleted on one node; its chains stay."""

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"proxy {parameters['node']} service {parameters['service']}"]

    async def make(self, live: Live, fault: Injected) -> None:
        name, proxier = fault.parameters["service"], live.nodes.agents(fault.parameters["node"]).proxier
        service(live, name)
        gone = (await proxier.differences()).get(name)
        missing = set(gone.add) if gone else set()
        entries = [e for e in proxier.entries_of(name) if _is_jump(e)]
        if there := [entry for entry in entries if entry not in missing]:
            await proxier.mend([Difference({}, [], there, [])])
