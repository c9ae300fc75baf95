"""Truth tables: policies beside what they mean, said independently as a predicate on (source, destination, port).

Three namespaces x, y, z with three pods a, b, c each (cyclonus' world), on two nodes; labels pod=NAME and ns=NAME, and
`tier`; TCP and UDP on 80 (named serve-80) and 81 (named serve-81, except that pods `b` call 80 by that name).
"""
# ruff: noqa: E501 (tables)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.networking_v1 import NetworkPolicy

from .objects import namespace, pod, policy

KEYS = [f"{n}/{p}" for n in "xyz" for p in "abc"]
NODE = {key: f"node-{1 + (i + i // 3) % 2}" for i, key in enumerate(KEYS)}
ON = {node: [k for k in KEYS if NODE[k] == node] for node in ("node-1", "node-2")}
IP = {key: f"10.244.{NODE[key][-1]}.{2 + ON[NODE[key]].index(key)}" for key in KEYS}  # as the CNI leases them
TIER = {"a": "front", "b": "back"}  # c has none
PROBES = list(product((80, 81), ("TCP", "UDP")))


def labels(key: str) -> dict[str, str]:
    name = key[2]
    return {"pod": name, **({"tier": TIER[name]} if name in TIER else {})}


def ports(key: str) -> tuple[tuple[str, str, int], ...]:
    """`swap` is 80 in pods b, else 81; TCP only."""
    both = [(f"serve-{n}-{p.lower()}", p, n) for n in (80, 81) for p in ("TCP", "UDP")]
    return (*both, ("swap", "TCP", 80 if key[2] == "b" else 81))


def namespaces() -> list[Namespace]:
    return [namespace("x", team="red"), namespace("y", team="blue"), namespace("z")]


def pods() -> list[Pod]:
    return [pod(key, IP[key], NODE[key], labels(key), ports(key)) for key in KEYS]


Allowed = Callable[[str, str, int, str], bool]


@dataclass(frozen=True)
class Case:
    name: str
    policies: list[NetworkPolicy]
    allowed: Allowed  # for different pods; a pod always reaches itself

    def expects(self, source: str, target: str, port: int, protocol: str) -> bool:
        return source == target or self.allowed(source, target, port, protocol)


CASES: list[Case] = []


def case(name: str, allowed: Allowed, *policies: NetworkPolicy) -> None:
    CASES.append(Case(name, list(policies), allowed))


def sel(**match: str) -> dict[str, Any]:
    return {"matchLabels": match} if match else {}


def exp(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


def frm(*peers: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"from": list(peers), **({"ports": ports} if ports else {})}


def to(*peers: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"to": list(peers), **({"ports": ports} if ports else {})}


def into(target: str, then: Allowed) -> Allowed:
    """Only ingress of `target` (a key, or a namespace) is policed, by `then`."""
    return lambda s, d, p, t: not d.startswith(target) or then(s, d, p, t)


def out_of(source: str, then: Allowed) -> Allowed:
    return lambda s, d, p, t: not s.startswith(source) or then(s, d, p, t)


A = sel(pod="a")
NOBODY: Allowed = lambda s, d, p, t: False  # noqa: E731
EVERYBODY: Allowed = lambda s, d, p, t: True  # noqa: E731

# -- defaults, and empty against missing against [{}] ------------------------------------------------------------------
case("no policy", EVERYBODY)
case("default deny ingress", into("x", NOBODY), policy("x/p", types=["Ingress"]))
case("default deny ingress, types defaulted", into("x", NOBODY), policy("x/p"))
case("ingress: []", into("x", NOBODY), policy("x/p", ingress=[]))
case("ingress: [{}]", EVERYBODY, policy("x/p", ingress=[{}]))
case("default deny egress", out_of("x", NOBODY), policy("x/p", types=["Egress"]))
case("egress: [] with its type", out_of("x", NOBODY), policy("x/p", types=["Egress"], egress=[]))
case("egress: [] alone isolates only ingress", into("x", NOBODY), policy("x/p", egress=[]))
case("egress: [{}] alone also isolates ingress", into("x", NOBODY), policy("x/p", egress=[{}]))
case("egress: [{}] with its type", EVERYBODY, policy("x/p", types=["Egress"], egress=[{}]))
case(
    "deny all both ways",
    lambda s, d, p, t: s[0] != "x" and d[0] != "x",
    policy("x/p", types=["Ingress", "Egress"]),
)
case("ingress rules without the type do nothing", out_of("x", NOBODY),
     policy("x/p", types=["Egress"], ingress=[{}]))  # fmt: skip
case("egress rules without the type do nothing", into("x", NOBODY),
     policy("x/p", types=["Ingress"], egress=[to({"podSelector": {}})]))  # fmt: skip
case("from: [] is everybody", EVERYBODY, policy("x/p", ingress=[{"from": []}]))
case("ports: [] is every port", EVERYBODY, policy("x/p", ingress=[{"ports": []}]))
case("deny one pod", into("x/a", NOBODY), policy("x/p", A))
case("deny egress of one pod", out_of("x/a", NOBODY), policy("x/p", A, types=["Egress"]))

# -- podSelector of the policy, every operator -------------------------------------------------------------------------
for operator, values, chosen in (
    ("In", ("a", "b"), "ab"),
    ("NotIn", ("a",), "bc"),
    ("Exists", (), "abc"),
    ("DoesNotExist", (), ""),
):
    for direction in ("Ingress", "Egress"):
        end = 1 if direction == "Ingress" else 0
        case(
            f"select by pod {operator} {values} {direction}",
            lambda s, d, p, t, end=end, chosen=chosen: (s, d)[end][0] != "x" or (s, d)[end][2] not in chosen,
            policy("x/p", exp("pod", operator, *values), types=[direction]),
        )
for operator, values, chosen in (
    ("NotIn", ("front",), "bc"),  # c has no tier: NotIn matches a missing key
    ("In", ("front",), "a"),
    ("Exists", (), "ab"),
    ("DoesNotExist", (), "c"),
):
    case(
        f"select by tier {operator}",
        lambda s, d, p, t, chosen=chosen: d[0] != "x" or d[2] not in chosen,
        policy("x/p", exp("tier", operator, *values)),
    )
    case(
        f"from pods by tier {operator}",
        into("x/a", lambda s, d, p, t, chosen=chosen: s[0] == "x" and s[2] in chosen),
        policy("x/p", A, ingress=[frm({"podSelector": exp("tier", operator, *values)})]),
    )
    case(
        f"to pods by tier {operator}",
        out_of("x/c", lambda s, d, p, t, chosen=chosen: d[0] == "x" and d[2] in chosen),
        policy(
            "x/p",
            sel(pod="c"),
            types=["Egress"],
            egress=[to({"podSelector": exp("tier", operator, *values)})],
        ),
    )
case("two requirements are ANDed", into("x/b", NOBODY),
     policy("x/p", {**sel(tier="back"), **exp("pod", "NotIn", "a")}))  # fmt: skip

# -- peers: pods, namespaces, AND against OR ---------------------------------------------------------------------------
B = {"podSelector": sel(pod="b")}
Y = {"namespaceSelector": sel(ns="y")}
YB = {**Y, **B}
for name, peers, match in (
    ("pods of the same namespace", [{"podSelector": {}}], lambda k: k[0] == "x"),
    ("one pod", [B], lambda k: k == "x/b"),
    ("one namespace", [Y], lambda k: k[0] == "y"),
    ("every namespace", [{"namespaceSelector": {}}], lambda k: True),
    ("namespace AND pod", [YB], lambda k: k == "y/b"),
    ("namespace OR pod", [Y, B], lambda k: k[0] == "y" or k == "x/b"),
    ("pod in every namespace", [{"namespaceSelector": {}, **B}], lambda k: k[2] == "b"),
    ("namespaces by expression", [{"namespaceSelector": exp("ns", "In", "y", "z")}], lambda k: k[0] in "yz"),
    ("namespaces NotIn, key missing", [{"namespaceSelector": exp("team", "NotIn", "red")}], lambda k: k[0] in "yz"),
    ("namespaces by Exists", [{"namespaceSelector": exp("team", "Exists")}], lambda k: k[0] in "xy"),
    ("namespaces by DoesNotExist", [{"namespaceSelector": exp("team", "DoesNotExist")}], lambda k: k[0] == "z"),
    ("a namespace that is not there", [{"namespaceSelector": sel(ns="q")}], lambda k: False),
    ("a pod that is not there", [{"podSelector": sel(pod="q")}], lambda k: False),
    ("three peers", [YB, B, {"namespaceSelector": sel(ns="z"), "podSelector": A}], lambda k: k in ("y/b", "x/b", "z/a")),
    ("one address", [{"ipBlock": {"cidr": f"{IP['y/a']}/32"}}], lambda k: k == "y/a"),
    ("a node's pods", [{"ipBlock": {"cidr": "10.244.1.0/24"}}], lambda k: NODE[k] == "node-1"),
    ("all addresses", [{"ipBlock": {"cidr": "0.0.0.0/0"}}], lambda k: True),
    ("all but a node's pods", [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.2.0/24"]}}],
     lambda k: NODE[k] == "node-1"),
    ("all but two addresses",
     [{"ipBlock": {"cidr": "10.244.0.0/16", "except": [f"{IP['y/a']}/32", f"{IP['z/c']}/32"]}}],
     lambda k: k not in ("y/a", "z/c")),
    ("an exception undone by another peer",
     [{"ipBlock": {"cidr": "10.244.0.0/16", "except": [f"{IP['y/a']}/32"]}}, {"ipBlock": {"cidr": f"{IP['y/a']}/32"}}],
     lambda k: True),
    ("an excepted pod that a selector brings back",
     [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}}, YB], lambda k: NODE[k] == "node-2" or k == "y/b"),
    ("addresses elsewhere", [{"ipBlock": {"cidr": "192.168.0.0/16"}}], lambda k: False),
    ("IPv6 addresses", [{"ipBlock": {"cidr": "fd00::/8"}}], lambda k: False),
):  # fmt: skip
    case(
        f"ingress from {name}",
        into("x/a", lambda s, d, p, t, m=match: m(s)),
        policy("x/p", A, ingress=[frm(*peers)]),
    )
    case(f"egress to {name}", out_of("x/a", lambda s, d, p, t, m=match: m(d)),
         policy("x/p", A, types=["Egress"], egress=[to(*peers)]))  # fmt: skip

# -- ports ---------------------------------------------------------------------------------------------------------------
for name, listed, match in (
    ("80, TCP by default", [{"port": 80}], lambda k, p, t: (p, t) == (80, "TCP")),
    ("80 UDP", [{"port": 80, "protocol": "UDP"}], lambda k, p, t: (p, t) == (80, "UDP")),
    ("80 of both", [{"port": 80}, {"port": 80, "protocol": "UDP"}], lambda k, p, t: p == 80),
    ("all of TCP", [{"protocol": "TCP"}], lambda k, p, t: t == "TCP"),
    ("all of UDP", [{"protocol": "UDP"}], lambda k, p, t: t == "UDP"),
    ("SCTP only", [{"protocol": "SCTP"}], lambda k, p, t: False),
    ("SCTP 80", [{"port": 80, "protocol": "SCTP"}], lambda k, p, t: False),
    ("80 to 81", [{"port": 80, "endPort": 81}], lambda k, p, t: t == "TCP"),
    ("81 to 90 UDP", [{"port": 81, "endPort": 90, "protocol": "UDP"}], lambda k, p, t: (p, t) == (81, "UDP")),
    ("1 to 79", [{"port": 1, "endPort": 79}], lambda k, p, t: False),
    ("serve-81 by name", [{"port": "serve-81-tcp"}], lambda k, p, t: (p, t) == (81, "TCP")),
    ("serve-80 by name, UDP", [{"port": "serve-80-udp", "protocol": "UDP"}], lambda k, p, t: (p, t) == (80, "UDP")),
    ("a name of another protocol", [{"port": "serve-80-udp"}], lambda k, p, t: False),
    ("a name nobody has", [{"port": "metrics"}], lambda k, p, t: False),
    ("a name that differs by pod", [{"port": "swap"}], lambda k, p, t: t == "TCP" and p == (80 if k[2] == "b" else 81)),
    ("81, or that name", [{"port": 81}, {"port": "swap"}],
     lambda k, p, t: t == "TCP" and (p == 81 or k[2] == "b")),
):  # fmt: skip
    case(
        f"ingress on {name}",
        into("x", lambda s, d, p, t, m=match: m(d, p, t)),
        policy("x/p", ingress=[frm(ports=listed)]),
    )
    case(f"egress on {name}", out_of("x", lambda s, d, p, t, m=match: m(d, p, t)),
         policy("x/p", types=["Egress"], egress=[to(ports=listed)]))  # fmt: skip
    case(f"egress to y or x/b on {name}",
         out_of("x/a", lambda s, d, p, t, m=match: (d[0] == "y" or d == "x/b") and m(d, p, t)),
         policy("x/p", A, types=["Egress"], egress=[to(Y, B, ports=listed)]))  # fmt: skip

# -- more than one rule, policy, direction -------------------------------------------------------------------------------
case("two rules are ORed", into("x/a", lambda s, d, p, t: s[0] == "y" or (p, t) == (81, "TCP")),
     policy("x/p", A, ingress=[frm(Y), frm(ports=[{"port": 81}])]))  # fmt: skip
case("two policies add up", into("x/a", lambda s, d, p, t: s[0] == "y" or s == "x/b"),
     policy("x/p", A, ingress=[frm(Y)]), policy("x/q", A, ingress=[frm(B)]))  # fmt: skip
case("deny and allow: allow wins", into("x", lambda s, d, p, t: d == "x/a" and s[0] == "y"),
     policy("x/deny"), policy("x/allow", A, ingress=[frm(Y)]))  # fmt: skip
case("egress allowed but ingress denied", lambda s, d, p, t: d[0] != "y",
     policy("x/p", types=["Egress"], egress=[{}]), policy("y/q"))  # fmt: skip
case("both ends must agree",
     lambda s, d, p, t: (s[0] != "x" or (d[0] == "y" and p == 80)) and (d[0] != "y" or (s[0] == "x" and t == "TCP")),
     policy("x/p", types=["Egress"], egress=[to(Y, ports=[{"port": 80}, {"port": 80, "protocol": "UDP"}])]),
     policy("y/q", ingress=[frm({"namespaceSelector": sel(ns="x")}, ports=[{"protocol": "TCP"}])]))  # fmt: skip
case("named port for named peers", into("x", lambda s, d, p, t: s[2] == "b" and t == "TCP" and p == (80 if d[2] == "b" else 81)),
     policy("x/p", ingress=[frm({"namespaceSelector": {}, **B}, ports=[{"port": "swap"}])]))  # fmt: skip
case("named port for an ipBlock's pods", out_of("x/a", lambda s, d, p, t: NODE[d] == "node-2" and (p, t) == (80, "TCP")),
     policy("x/p", A, types=["Egress"],
            egress=[to({"ipBlock": {"cidr": "10.244.2.0/24"}}, ports=[{"port": "serve-80-tcp"}])]))  # fmt: skip
case("each namespace by itself", lambda s, d, p, t: s[0] == d[0],
     *(policy(f"{n}/p", ingress=[frm({"podSelector": {}})]) for n in "xyz"))  # fmt: skip
case("seed: only the allowed app", into("x/a", lambda s, d, p, t: s == "x/b"),
     policy("x/allow-app-pods", A, ingress=[frm(B)]))  # fmt: skip
