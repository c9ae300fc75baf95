"""What can be broken: nodes, pods and Services by name, with a default and a clear refusal for each parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightkube.resources.core_v1 import Pod, Service

from ..api.errors import StatusError, bad_request
from ..cni.pod import host_ifname
from ..kernel.netns import Netns
from .catalogue import Fault, Json, Parameter

if TYPE_CHECKING:
    from ..boot.live import Live

SYSTEM = "kube-system"
FABRIC = "fabric"
NUMBERS = {"percent": (1, 100), "milliseconds": (1, 5000), "kbytes": (1, 1_000_000), "bytes": (576, 1499)}


class Target:
    """Where a node or pod is plugged in: `port` is the far end of its cable, in `netns` called `place`."""

    def __init__(self, netns: Netns, place: str, port: str) -> None:
        self.netns, self.place, self.port = netns, place, port


def target(live: Live, name: str) -> Target:
    """`node-1`, or a pod as `default/web`. Raises StatusError 404."""
    if "/" not in name:
        node(live, name)
        return Target(live.fabric, FABRIC, name)
    found = pod(live, name)
    assert found.spec and found.spec.nodeName and found.status and found.status.podIP
    return Target(live.nodes.agents(found.spec.nodeName).netns, found.spec.nodeName, host_ifname(found.status.podIP))


def node(live: Live, name: str) -> str:
    """Raises StatusError 404."""
    if name not in live.nodes.names():
        raise not_there("node", name, live.nodes.names())
    return name


def pod(live: Live, name: str) -> Pod:
    """A pod that runs on the pod network. Raises StatusError 404."""
    names = pods(live, everywhere=True)
    if name not in names:
        raise not_there("running pod", name, pods(live))
    namespace, _, short = name.partition("/")
    return live.client.get(Pod, short, namespace)


def service(live: Live, name: str) -> Service:
    """Raises StatusError 404."""
    if name not in services(live, everywhere=True):
        raise not_there("Service with a selector", name, services(live))
    namespace, _, short = name.partition("/")
    return live.client.get(Service, short, namespace)


def pods(live: Live, *, everywhere: bool = False) -> list[str]:
    """Running pods on the pod network, without the system's own unless `everywhere`."""
    found = []
    for each in live.client.list(Pod):
        meta, spec, status = each.metadata, each.spec, each.status
        assert meta and spec
        alive = status is not None and status.phase == "Running" and status.podIP and meta.deletionTimestamp is None
        if alive and not spec.hostNetwork and (everywhere or meta.namespace != SYSTEM):
            found.append(f"{meta.namespace}/{meta.name}")
    return found


def services(live: Live, *, everywhere: bool = False) -> list[str]:
    """Services with a selector and an address of their own."""
    found = []
    for each in live.client.list(Service):
        assert each.metadata and each.spec
        usable = each.spec.selector and each.spec.ports and each.spec.clusterIP not in (None, "", "None")
        if usable and (everywhere or each.metadata.namespace != SYSTEM):
            found.append(f"{each.metadata.namespace}/{each.metadata.name}")
    return found


def choices(live: Live, parameter: Parameter) -> list[str]:
    """What a parameter may be, in an order that does not depend on chance."""
    if parameter.kind in ("node", "endpoint"):
        ordered = sorted(live.nodes.names(), key=lambda name: (len(name), name))
        return ordered + (pods(live) if parameter.kind == "endpoint" else [])
    return pods(live) if parameter.kind == "pod" else services(live)


def complete(live: Live, fault: Fault, given: Json) -> Json:
    """All parameters of the fault, checked; what is not given gets its default. Raises StatusError."""
    known = {parameter.name for parameter in fault.parameters}
    if unknown := sorted(given.keys() - known):
        allowed = ", ".join(sorted(known)) or "none"
        raise bad_request(f"fault {fault.name} has no parameter {unknown[0]!r}; it has: {allowed}")
    found: Json = {}
    for parameter in fault.parameters:
        value = given.get(parameter.name)
        if parameter.kind == "number":
            found[parameter.name] = _number(parameter, value)
        elif value is not None:
            found[parameter.name] = _there(live, parameter, str(value))
        else:
            found[parameter.name] = _default(live, parameter, found)
    if found.get("peer") is not None and found["peer"] == found.get("node"):
        raise bad_request("node and peer are the same node: choose two")
    return found


def _number(parameter: Parameter, value: object) -> int:
    low, high = NUMBERS[parameter.name]
    try:
        number = int(str(parameter.default if value is None else value).removesuffix(".0"))
    except ValueError:
        raise bad_request(f"{parameter.name}: {value!r} is no number") from None
    if not low <= number <= high:
        raise bad_request(f"{parameter.name}: {number} must be between {low} and {high}")
    return number


def _there(live: Live, parameter: Parameter, value: str) -> str:
    if parameter.kind in ("pod", "service") and "/" not in value:
        value = f"default/{value}"
    if parameter.kind == "service":
        service(live, value)
    elif "/" in value:
        pod(live, value)
    elif value not in live.nodes.names() and parameter.kind == "endpoint":
        value = f"default/{value}"
        pod(live, value)
    else:
        node(live, value)
    return value


def _default(live: Live, parameter: Parameter, found: Json) -> str:
    some = choices(live, parameter)
    if parameter.name == "peer":
        some = [each for each in some if each != found["node"]]
    if not some:
        raise bad_request(f"there is no {parameter.kind} to break: {parameter.help}")
    nodes = [each for each in some if each in live.nodes.names()]
    return nodes[-1] if nodes and parameter.name != "peer" else some[0]


def not_there(kind: str, name: str, known: list[str]) -> StatusError:
    """The error for a target that does not exist."""
    shown = ", ".join(known[:8]) + (" …" if len(known) > 8 else "")
    return StatusError(404, "NotFound", f"there is no {kind} {name!r}; there are: {shown or 'none'}")
