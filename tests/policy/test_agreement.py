"""Random policies: the evaluator, the rendered rules and the kernel give the same answer to every probe."""
# ruff: noqa: E501 (tables)

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightkube.resources.networking_v1 import NetworkPolicy

from minik8s_net.policy.evaluate import Endpoint, evaluate
from minik8s_net.policy.index import PolicyIndex

from . import walk
from .cases import IP, KEYS, PROBES, namespaces, pods
from .objects import Objects, policy
from .world import World

VALUES = {"pod": "abcq", "tier": ("front", "back", "none"), "ns": "xyzq", "team": ("red", "blue")}


def selectors(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    expression = st.sampled_from(keys).flatmap(
        lambda key: st.one_of(
            st.fixed_dictionaries(
                {
                    "key": st.just(key),
                    "operator": st.sampled_from(("In", "NotIn")),
                    "values": st.lists(st.sampled_from(VALUES[key]), min_size=1, max_size=2, unique=True),
                }
            ),
            st.fixed_dictionaries({"key": st.just(key), "operator": st.sampled_from(("Exists", "DoesNotExist"))}),
        )
    )
    labels = st.sampled_from(keys).flatmap(lambda key: st.sampled_from(VALUES[key]).map(lambda v: {key: v}))
    return st.one_of(
        st.just({}),
        labels.map(lambda found: {"matchLabels": found}),
        st.lists(expression, min_size=1, max_size=2).map(lambda found: {"matchExpressions": found}),
    )


def _block(parts: tuple[str, list[str]]) -> dict[str, Any]:
    cidr, excepts = parts
    inside = [e for e in excepts if not cidr.endswith("/32") and (cidr.endswith(("/0", "/16")) or e[:9] == cidr[:9])]
    return {"ipBlock": {"cidr": cidr, "except": inside}}


CIDRS = ["0.0.0.0/0", "10.244.0.0/16", "10.244.1.0/24", "10.244.2.0/24", *(f"{ip}/32" for ip in IP.values())]
HOLES = ["10.244.1.0/29", "10.244.2.0/30", *(f"{ip}/32" for ip in IP.values())]
PEERS = st.one_of(
    st.builds(lambda s: {"podSelector": s}, selectors("pod", "tier")),
    st.builds(lambda s: {"namespaceSelector": s}, selectors("ns", "team")),
    st.builds(
        lambda p, n: {"podSelector": p, "namespaceSelector": n},
        selectors("pod", "tier"),
        selectors("ns", "team"),
    ),
    st.tuples(st.sampled_from(CIDRS), st.lists(st.sampled_from(HOLES), max_size=2, unique=True)).map(_block),
)
PROTOCOLS = st.sampled_from(("TCP", "UDP", "SCTP"))
PORTS = st.one_of(
    st.builds(lambda p: {"protocol": p}, PROTOCOLS),
    st.builds(lambda p, n: {"protocol": p, "port": n}, PROTOCOLS, st.sampled_from((80, 81, 82))),
    st.builds(lambda p, n, m: {"protocol": p, "port": n, "endPort": n + m}, PROTOCOLS, st.integers(78, 82), st.integers(0, 3)),
    st.builds(lambda n: {"port": n}, st.sampled_from(("swap", "serve-80-tcp", "serve-81-udp"))),
    st.just({"protocol": "UDP", "port": "serve-81-udp"}),
)  # fmt: skip


def rules(field: str) -> st.SearchStrategy[Any]:
    return st.lists(
        st.fixed_dictionaries({}, optional={field: st.lists(PEERS, max_size=3), "ports": st.lists(PORTS, max_size=3)}),
        max_size=3,
    )


@st.composite
def policies(draw: st.DrawFn) -> list[NetworkPolicy]:
    found = []
    for i in range(draw(st.integers(1, 5))):
        spec: dict[str, Any] = {}
        if draw(st.booleans()):
            spec["ingress"] = draw(rules("from"))
        if draw(st.booleans()):
            spec["egress"] = draw(rules("to"))
        if draw(st.booleans()):
            spec["types"] = draw(st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"])))
        found.append(policy(f"{draw(st.sampled_from('xyz'))}/p{i}", draw(selectors("pod", "tier")), **spec))
    return found


def judge(index: PolicyIndex, source: str, target: str, port: int, protocol: str) -> bool:
    ends = (Endpoint(IP[k], index.owner(IP[k])) for k in (source, target))
    return evaluate(index.objects.values(), index.namespaces, *ends, port, protocol).allowed


@given(policies())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_evaluator_and_rules(chosen: list[NetworkPolicy]) -> None:
    objects = Objects()
    objects.put(*namespaces(), *pods(), *chosen)
    index = PolicyIndex(objects)  # type: ignore[arg-type]
    tables = {node: walk.table(index, node) for node in ("node-1", "node-2")}
    for source in KEYS[::2]:
        for target in KEYS:
            for port, protocol in (*PROBES, (80, "SCTP")):
                packet = walk.Packet(IP[source], IP[target], protocol, port)
                assert walk.passes(tables, packet) == judge(index, source, target, port, protocol), packet


@pytest.mark.netns
@given(policies())
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_evaluator_and_kernel(nine: World, chosen: list[NetworkPolicy]) -> None:
    nine.put(*chosen)
    try:
        for measured in nine.reach_all(PROBES, lambda s, d, p, t: judge(nine.index, s, d, p, t)):
            assert not measured.wrong, f"\n{measured}"
    finally:
        nine.objects.drop(*chosen)
