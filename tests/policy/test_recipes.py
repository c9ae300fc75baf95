"""Every truth table against the evaluator, and against a packet walked through the rendered rules."""

from __future__ import annotations

import pytest

from minik8s_net.policy.evaluate import Endpoint, evaluate
from minik8s_net.policy.index import PolicyIndex

from . import walk
from .cases import CASES, IP, KEYS, PROBES, Case, namespaces, pods
from .objects import Objects


def index_of(case: Case) -> PolicyIndex:
    objects = Objects()
    objects.put(*namespaces(), *pods(), *case.policies)
    return PolicyIndex(objects)  # type: ignore[arg-type]


def everything() -> list[tuple[str, str, int, str]]:
    return [(s, d, port, protocol) for s in KEYS for d in KEYS for port, protocol in PROBES]


def test_there_are_enough() -> None:
    assert len(CASES) >= 100
    assert len({c.name for c in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_evaluator(case: Case) -> None:
    index = index_of(case)
    ends = {key: Endpoint(IP[key], index.owner(IP[key])) for key in KEYS}
    for s, d, port, protocol in everything():
        verdict = evaluate(case.policies, index.namespaces, ends[s], ends[d], port, protocol)
        assert verdict.allowed == case.expects(s, d, port, protocol), str(verdict)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_rendered_rules(case: Case) -> None:
    index = index_of(case)
    tables = {node: walk.table(index, node) for node in ("node-1", "node-2")}
    assert all(len(chain) <= 28 for t in tables.values() for chain in t.chains)
    for s, d, port, protocol in everything():
        packet = walk.Packet(IP[s], IP[d], protocol, port)
        assert walk.passes(tables, packet) == case.expects(s, d, port, protocol), packet
