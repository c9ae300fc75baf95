"""The debugging clinic: a random cluster, one random fault, and `explain` is asked what is wrong.

    python -m benchmarks.clinic [COUNT]

For each seed: random pods, Services and policies on a cluster of three nodes; who reaches whom is measured; a fault is
injected by the seed; a pair that it has broken (or made slow) is explained. Right is the kind of cause that the
catalogue names for the fault. A pair that still works must have no cause: naming one is blaming a healthy part.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.faults.catalogue import CATALOGUE
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service

NAME = "bench-clinic"
NODES = ("node-1", "node-2", "node-3")
DEGRADED = {"loss", "delay", "bandwidth", "mtu", "dns-slow"}  # it works, but not as it should
Pair = tuple[str, str]  # pod, Service


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        os.environ["MINIK8S_HOME"] = str(Path(folder) / "state")
        home.minik8s("up", "--cluster", NAME, "--nodes", "3")
        try:
            clinic(home.cluster(NAME), count)
        finally:
            home.minik8s("down", "--all")


def clinic(cluster: Cluster, count: int) -> None:
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    blamed = healthy = unseen = 0
    for seed in range(count):
        random = Random(seed)
        objects = _objects(random)
        cluster.apply(objects)
        names = [o["metadata"]["name"] for o in objects if o["kind"] == "Pod"]
        for name in names:
            cluster.wait(f"pod/{name}")
        before = _reach(cluster, names)
        told = cluster.fault("random", seed=seed)
        if told["name"] == "proxy-stopped":  # what stands goes on: only a change shows it
            cluster.apply(_change(objects))
        time.sleep(1.5)
        after = _reach(cluster, names)
        broken = [pair for pair in before if before[pair] and not after[pair]]
        whole = [pair for pair in before if before[pair] and after[pair]]
        subject = broken[0] if broken else _degraded(told, whole)
        if subject is None:
            unseen += 1  # a fault that no pair of this cluster meets
        else:
            asked[told["name"]] += 1
            kind = _cause(cluster, subject)
            right[told["name"]] += kind == CATALOGUE[told["name"]].cause
            if kind != CATALOGUE[told["name"]].cause:
                print(f"seed {seed}: {told['name']} {told['parameters']}: {subject}: explain says {kind}")
        if told["name"] not in DEGRADED:
            for pair in random.sample(whole, min(2, len(whole))):
                healthy += 1
                blamed += _cause(cluster, pair) is not None
        cluster.clear()
        cluster.delete(objects)
    total = sum(asked.values())
    print(f"{count} clusters, {total} faults seen from a pod ({unseen} met no pair):")
    print(f"  named rightly: {sum(right.values())} of {total} ({100 * sum(right.values()) / max(total, 1):.1f} %)")
    print(f"  healthy pairs blamed: {blamed} of {healthy}")
    for name in sorted(asked):
        print(f"  {name:20} {right[name]:3} of {asked[name]:3}")


def _objects(random: Random) -> list[dict[str, Any]]:
    """Two to four applications on random nodes, their Services, and policies for some of them."""
    apps = [f"app-{i}" for i in range(random.randint(2, 4))]
    found = [pod(app, random.choice(NODES), "nginx", app) for app in apps]
    found += [pod(f"client-{i}", random.choice(NODES), "netshoot", f"client-{i}") for i in range(2)]
    found += [service(app, app) for app in apps]
    found += [policy(app, app, random.choice(["client-0", "client-1", *apps])) for app in apps if random.random() < 0.4]
    return found


def _change(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every Service on another port: known only where the proxy runs."""
    services = [o for o in objects if o["kind"] == "Service"]
    return [{**s, "spec": {**s["spec"], "ports": [*s["spec"]["ports"], {"name": "b", "port": 81}]}} for s in services]


def _reach(cluster: Cluster, names: list[str]) -> dict[Pair, bool]:
    clients = [name for name in names if name.startswith("client-")]
    targets = [name for name in names if not name.startswith("client-")]
    found = {}
    for client in clients:
        probes = "\n".join(f"(curl -s -o /dev/null -m 2 http://{t}; echo {t} $?) &" for t in targets)
        for line in cluster.exec(client, ["sh", "-c", f"{probes}\nwait"]).stdout.splitlines():
            target, code = line.split()
            found[client, target] = code == "0"
    return found


def _degraded(told: dict[str, Any], whole: list[Pair]) -> Pair | None:
    return whole[0] if told["name"] in DEGRADED and whole else None


def _cause(cluster: Cluster, pair: Pair) -> str | None:
    """The kind that explain names, None where it finds nothing wrong."""
    try:
        told = cluster.api.verb("explain", source=f"default/{pair[0]}", target=f"http://{pair[1]}")
    except StatusError as error:
        if error.code == 404:
            sys.exit("this version has no `explain`")
        raise
    return (told.get("cause") or {}).get("kind")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
