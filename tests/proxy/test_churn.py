"""200 random changes under fire: nobody ends at an endpoint 500 ms after it went, and nothing is left behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from minik8s_net.kernel import conntrack

from .cases import A, B, C
from .churn_clients import NAMES, is_udp, node_port, vip
from .objects import service, slice_of
from .wiring import Fabric
from .world import World, ruleset, run

pytestmark = pytest.mark.netns
STEPS, GRACE = 200, 0.5
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pods(fabric: Fabric) -> list[tuple[str, str]]:
    """Eight pods in all, that go on serving whether they are anybody's endpoints or not."""
    more = [fabric.pod(node, host) for node in (1, 2) for host in (31, 32, 33)]
    for address in more[:5]:
        fabric.serve(address)
        fabric.serve(address, 5353, udp=True)
    return [(p, f"node-{p.split('.')[2]}") for p in (A, B, C, *more[:5])]


class History:
    """Who was whose endpoint, and since when."""

    def __init__(self) -> None:
        self._states: dict[str, list[tuple[float, frozenset[str]]]] = {name: [(0.0, frozenset())] for name in NAMES}

    def set(self, name: str, endpoints: frozenset[str]) -> None:
        self._states[name].append((time.monotonic(), endpoints))

    def of(self, name: str) -> list[tuple[float, list[str]]]:
        return [(since, sorted(endpoints)) for since, endpoints in self._states[name]]

    def now(self, name: str) -> frozenset[str]:
        return self._states[name][-1][1]

    def allows(self, name: str, endpoint: str, begin: float, end: float) -> bool:
        """Whether it was one at some time from GRACE before `begin` on."""
        states = [*self._states[name], (end, frozenset())]
        spans = itertools.pairwise(states)
        return any(endpoint in state and gone >= begin - GRACE for (_, state), (gone, _) in spans)


class Clients:
    """The process of churn_clients.py while inside; `wrong` and `answers` afterwards."""

    def __init__(self, fabric: Fabric, history: History) -> None:
        self._history, self.wrong, self.answers = history, list[str](), 0
        paths = [f"/proc/{os.getpid()}/fd/{fabric.pods[pod].fd}" for pod in (A, B)]
        self._command = [sys.executable, "-m", "tests.proxy.churn_clients", *paths]

    def __enter__(self) -> Clients:
        self._told = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=self._told, cwd=ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)
        self._told.seek(0)
        for line in self._told:
            begin, end, name, answered = line.split()
            self.answers += 1
            if not self._history.allows(name, answered, float(begin), float(end)):
                self.wrong.append(f"{name} -> {answered} at {begin}: {self._history.of(name)}")
        self._told.close()


def step(w: World, history: History, pods: list[tuple[str, str]], choice: random.Random) -> None:
    """One change of one Service: it comes, goes, changes its settings, or its endpoints come and go."""
    name = choice.choice(NAMES)
    act = choice.choices(["more", "less", "others", "service", "gone"], [4, 4, 2, 2, 1])[0]
    exists = (Service, name) in w.objects
    if act == "gone" and exists:
        history.set(name, frozenset())
        w.objects.drop(Service, name)
        return
    if act == "service" or not exists:
        udp = is_udp(name)
        port = ("http", "UDP", 53) if udp else ("http", "TCP", 80, node_port(name))
        affinity = {"sessionAffinity": choice.choice(["None", "None", "ClientIP"])}
        policy: dict[str, Any] = {} if udp else {"externalTrafficPolicy": choice.choice(["Cluster", "Local"])}
        w.objects.put(service(name, vip(name), port, type="ClusterIP" if udp else "NodePort", **affinity, **policy))
    have = {e for e in history.now(name)}
    everyone = [p for p, _ in pods]
    want = {
        "more": have | {choice.choice(everyone)},
        "less": have - {choice.choice(everyone)} if len(have) < 2 else have - {choice.choice(sorted(have))},
        "others": set(choice.sample(everyone, choice.randint(0, 5))),
    }.get(act, have)
    ports = {"protocol": "UDP", "http": 5353} if is_udp(name) else {"http": 8080}
    w.objects.put(slice_of(name, *(p for p in pods if p[0] in want), **ports))
    history.set(name, frozenset(want))


def test_200_random_changes_while_clients_connect(world_or_tables: World, pods: list[tuple[str, str]]) -> None:
    async def test(w: World) -> None:
        before = [sorted(ruleset(w, node).splitlines()) for node in w.fabric.nodes]
        history, choice = History(), random.Random(20)
        with Clients(w.fabric, history) as clients:
            for _ in range(STEPS):
                step(w, history, pods, choice)
                await asyncio.sleep(0.03)
            await asyncio.sleep(GRACE)
        assert clients.wrong == []
        assert clients.answers > STEPS
        for kind, name in [key for key in w.objects if key[0] in (Service, EndpointSlice)]:
            w.objects.drop(kind, name)
        await w.settle()
        after = [sorted(ruleset(w, node).splitlines()) for node in w.fabric.nodes]
        assert [_ours(lines) for lines in after] == [_ours(lines) for lines in before]
        left = [e for node in w.fabric.nodes.values() for e in node.call(conntrack.entries) if _is_udp_of_ours(e)]
        assert left == []

    run(world_or_tables, test)


def _ours(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(("#", ":"))] + [
        line.split()[0] for line in lines if line[:1] == ":"
    ]


def _is_udp_of_ours(entry: conntrack.Entry) -> bool:
    """Flows that were sent on to an endpoint (an unanswered attempt at nobody's address may be there)."""
    return entry.protocol == conntrack.UDP and entry.dst.startswith("10.96.8.") and entry.reply_src != entry.dst
