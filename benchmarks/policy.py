"""What policies cost: `python -m benchmarks.policy`, as root or inside `unshare -Urmn`. Prints one line per figure.

Connections through 5 and through 5000 peers; the time from a change to its enforcement at 500 pods and 100 policies;
and 500 random changes under constant connecting, with the longest that something forbidden got through.
"""

from __future__ import annotations

import errno
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.policy.objects import namespace, pod, policy
from tests.policy.world import World

PODS, POLICIES, NODES = 500, 100, 2


def connect(ip: str, port: int, timeout: float) -> bool:
    with socket.socket() as client:
        client.settimeout(timeout)
        try:
            client.connect((ip, port))
        except OSError:
            return False
        return True


def pair(world: World, *nodes: str) -> None:
    world.put(namespace("default"))
    for name, node in zip(("client", "server"), nodes, strict=True):
        key = f"default/{name}"
        world.ready(pod(key, world.wire(key, node), node))
        world.listen(key, 80)


def peers(world: World) -> None:
    """µs per new connection: a SYN to a port where nobody listens, and its RST, on one node."""

    def connections(count: int = 3000) -> float:
        began = time.perf_counter()
        for _ in range(count):
            with socket.socket() as probe:
                probe.settimeout(2)
                assert probe.connect_ex((world.ips["default/server"], 9)) == errno.ECONNREFUSED
        return (time.perf_counter() - began) / count * 1e6

    client = world.pods["default/client"]
    client.call(connections)
    found: dict[int, list[float]] = {0: [], 5: [], 5000: []}
    for _ in range(3):
        for count, times in found.items():
            blocks = [{"ipBlock": {"cidr": f"100.64.{i // 250}.{1 + i % 250}/32"}} for i in range(max(count - 1, 0))]
            rule = {"from": [*blocks, {"podSelector": {}}]}
            deny = policy("default/p", ingress=[rule])
            if count:
                world.put(deny)
            times.append(client.call(connections))
            if count:
                world.drop(deny)
    for count, times in found.items():
        print(f"{count:5} peers: {min(times):6.1f} µs a new connection (median {statistics.median(times):.1f})")


def populate(world: World) -> None:
    world.objects.put(*(namespace(f"n{i}", team=str(i % 5)) for i in range(10)))
    for i in range(PODS):
        node = 1 + i % NODES
        ip = f"10.244.{node}.{3 + i // NODES}"
        labels = {"app": f"app{i // 10 % 5}", "v": "1"}
        world.objects.put(pod(f"n{i % 10}/pod{i}", ip, f"node-{node}", labels, (("http", "TCP", 80),)))
    for i in range(POLICIES):
        world.objects.put(one_policy(i, 80))


def one_policy(i: int, port: int) -> Any:
    match = {"matchLabels": {"app": f"app{i // 10 % 5}"}}
    peer = {
        "podSelector": {"matchLabels": {"app": f"app{i % 5}"}},
        "namespaceSelector": {"matchLabels": {"team": str(i % 5)}},
    }
    rules = {"ingress": [{"from": [peer], "ports": [{"port": port}]}], "egress": [{"to": [peer]}]}
    return policy(f"n{i % 10}/policy{i}", match, **rules)


def latency(world: World) -> None:
    began = time.perf_counter()
    populate(world)
    world.settle()
    print(f"{PODS} pods, {POLICIES} policies at once: {(time.perf_counter() - began) * 1e3:.0f} ms")
    chance = random.Random(1)

    def relabel() -> Any:
        i = chance.randrange(PODS)
        node = 1 + i % NODES
        labels = {"app": f"app{chance.randrange(5)}", "v": str(chance.random())}
        return pod(
            f"n{i % 10}/pod{i}", f"10.244.{node}.{3 + i // NODES}", f"node-{node}", labels, (("http", "TCP", 80),)
        )

    changes: dict[str, Callable[[], Any]] = {
        "a policy's rules (10 pods)": lambda: one_policy(chance.randrange(POLICIES), chance.randrange(1, 9999)),
        "a policy of a whole namespace (50 pods)": lambda: policy(
            "n1/all", ingress=[{"ports": [{"port": chance.randrange(1, 9999)}]}]
        ),
        "a pod's labels": relabel,
        "a namespace's labels": lambda: namespace("n3", team=str(chance.randrange(99))),
    }
    for what, change in changes.items():
        for seconds, how in ((0.05, "by itself"), (0.0, "right after another")):
            took = sorted(measured(world, change(), seconds) for _ in range(40))
            middle, most = statistics.median(took), took[-1]
            print(f"{what}, {how}: {middle:.1f} ms, 95 % in {took[37]:.1f} ms, at most {most:.1f} ms")


def measured(world: World, obj: Any, seconds: float) -> float:
    """ms from a change, made after some time of rest, to its enforcement on all nodes."""
    world.run(pause(seconds))
    began = time.perf_counter()
    world.put(obj)
    return (time.perf_counter() - began) * 1e3


def storm(world: World, changes: int = 500) -> None:
    """Every 10 ms a change; a client connects all the time; how long after its ban a connection still got through."""
    seen: list[tuple[float, float, bool]] = []
    over = threading.Event()

    def traffic() -> None:
        while not over.is_set():
            began = time.monotonic()
            seen.append((began, time.monotonic(), connect(world.ips["default/server"], 80, 0.02)))

    client = threading.Thread(target=world.pods["default/client"].call, args=(traffic,))
    client.start()
    chance, history = random.Random(2), []
    deny = policy("default/deny", {"matchLabels": {"pod": "server"}})
    denied = False
    for _ in range(changes):
        if (before := denied) != (denied := chance.random() < 0.5):
            (world.objects.put if denied else world.objects.drop)(deny)
            history.append((time.monotonic(), denied))
        if before == denied:
            label = {"pod": "client", "v": str(chance.random())}
            world.objects.put(pod("default/client", world.ips["default/client"], "node-1", label))
        world.run(pause(0.01))
    over.set()
    client.join()
    if denied:
        world.drop(deny)
    late = [began - at for began, _, open_ in seen if open_ for at, bad in [last(history, began)] if bad]
    passed = sum(open_ for _, _, open_ in seen)
    print(f"{changes} changes, {len(seen)} connections tried, {passed} let in; "
          f"forbidden ones began at most {max(late, default=0) * 1e3:.1f} ms after their change")  # fmt: skip
    left = [n for n in world.nodes["node-2"].call(names) if n != "KUBE-PODS"]
    print(f"sets left over: {left or 'none'}")


async def pause(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


def last(history: list[tuple[float, bool]], now: float) -> tuple[float, bool]:
    return next(((at, bad) for at, bad in reversed(history) if at <= now), (0.0, False))


def names() -> list[str]:
    from minik8s_net.kernel import ipset

    return ipset.names()


def main() -> None:
    for run, nodes in ((peers, ("node-1", "node-1")), (storm, ("node-1", "node-2")), (latency, ())):
        with tempfile.TemporaryDirectory() as folder, World(Path(folder), NODES) as world:
            if nodes:
                pair(world, *nodes)
            run(world)


if __name__ == "__main__":
    main()
