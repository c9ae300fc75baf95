"""Where the kernel differs from what our components wrote: the comparison alone, nothing is changed here.

`explain` and `minik8s diff` read it, the healer mends it. What is broken by an injected fault, or left broken because
its healing is paused, is drift like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..api.errors import StatusError
from ..kernel.tool import ToolError

if TYPE_CHECKING:
    from ..boot.live import Live

Json = dict[str, Any]
COMPONENTS = ("namespace", "link", "address", "route", "neighbour", "sysctl", "proxy", "policy")
"""What can drift, and what healing can be paused for.

namespace: its name in the host's /run/netns. link: a device, its port on a bridge, up or down, MTU, hardware address.
neighbour: permanent neighbour and VXLAN forwarding entries. proxy: rules of Services. policy: rules, sets and bridge
entries of NetworkPolicies."""
MISSING = "missing"


@dataclass(frozen=True)
class Drift:
    """One thing that is not as it was written."""

    component: str
    """One of COMPONENTS."""
    place: str
    """node-1, fabric, outside, or a pod: default/web."""
    what: str
    """link eth0 · address 10.244.1.5/24 on eth0 · route default · neighbour 10.244.1.1 on eth0 ·
    sysctl net.ipv4.ip_forward · service default/web · rules of kube-proxy · kube-proxy · chain KUBE-… · set KUBE-… ·
    jump FORWARD · entry of pods · name"""
    wanted: str
    found: str
    """In words, MISSING where there is nothing."""
    object: str = ""
    """Whom it concerns: "Service default/web", "Pod default/web", "Node node-1"."""

    @property
    def key(self) -> str:
        """What pauses match: `COMPONENT PLACE WHAT`."""
        return f"{self.component} {self.place} {self.what}"

    def to_dict(self) -> Json:
        """Plain JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> Drift:
        """The inverse of to_dict."""
        return cls(**data)

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.found}, should be {self.wanted}"


async def drift(live: Live, *, place: str | None = None) -> list[Drift]:
    """All drift of the cluster, or of one place; [] where the kernel is as it was written."""
    from .places import places
    from .rules import rule_drift
    from .wiring import wiring_drift

    found: list[Drift] = []
    for one in places(live):
        if place in (None, one.name):
            found += await unless_gone(live, one.goes_with, wiring_drift(one))
    for node, _ in live.nodes.each():
        if place in (None, node):
            found += await unless_gone(live, node, rule_drift(live, node))
    return found + [each for each in await name_drift(live) if place in (None, each.place)]


async def unless_gone(live: Live, place: str, looking: Awaitable[list[Drift]]) -> list[Drift]:
    """What is found; nothing where the place is a node that was removed while it was looked at."""
    try:
        return await looking
    except (KeyError, OSError, RuntimeError, ToolError):  # not in the list, unplugged, its thread has ended
        if place in (*live.nodes.names(), "fabric", "outside"):
            raise
        return []


async def name_drift(live: Live) -> list[Drift]:
    """Namespaces that have lost their names on the host (as root only: rootless, none has one)."""
    unnamed = await live.runtime.unnamed_netns()
    return [Drift("namespace", name, "name", "in /run/netns", MISSING) for name in unnamed]


async def verb(live: Live, asked: Json) -> Json:
    """The verb `diff`: {"place": NAME or missing} -> {"drift": [...]}. Raises StatusError for a place that is none."""
    from .places import places

    place = asked.get("place")
    if place and place not in (known := [one.name for one in places(live)]):
        shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
        raise StatusError(404, "NotFound", f"there is no place {place!r}; there are: {shown}")
    return {"drift": [each.to_dict() for each in await drift(live, place=place)]}
