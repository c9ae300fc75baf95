"""The debugging clinic: a random cluster, one random fault, and `explain` is asked what is wrong.

    python -m benchmarks.clinic [COUNT (40)] [FIRST SEED (0)]

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
from minik8s_net.faults.catalogue import CATALOGUE
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service

NAME = "bench-clinic"
NODES = ("node-1", "node-2", "node-3")
DEGRADED = {"loss", "delay", "bandwidth", "mtu", "dns-slow"}  # it works, but not as it should
SYMPTOM = 2.0  # seconds until a fault must show
Pair = tuple[str, str]  # pod, Service


def main(count: int, first: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        os.environ["MINIK8S_HOME"] = str(Path(folder) / "state")
        home.minik8s("up", "--cluster", NAME, "--nodes", "3")
        try:
            clinic(home.cluster(NAME), range(first, first + count))
        finally:
            home.minik8s("down", "--all")


def clinic(cluster: Cluster, seeds: range) -> None:
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    blamed = healthy = unseen = 0
    for seed in seeds:
        random = Random(seed)
        objects = _objects(random)
        cluster.apply(objects)
        nodes = {o["metadata"]["name"]: o["spec"]["nodeName"] for o in objects if o["kind"] == "Pod"}
        for name in nodes:
            cluster.wait(f"pod/{name}")
        time.sleep(0.3)  # the policies came last
        before = _reach(cluster, list(nodes))
        told = cluster.fault("random", seed=seed)
        port = 80
        if told["name"] == "proxy-stopped":  # what stands goes on: only a change shows it
            cluster.apply(_change(objects))
            port = 81
        broken, whole = _broken(cluster, nodes, before, port)
        met = [pair for pair in whole if _on_path(told, pair, nodes)]
        subject = random.choice(broken or met) if broken or met else None
        if subject is None:
            unseen += 1  # a fault that no pair of this cluster meets
        else:
            asked[told["name"]] += 1
            kind, text = _cause(cluster, subject, port)
            right[told["name"]] += kind == CATALOGUE[told["name"]].cause
            if kind != CATALOGUE[told["name"]].cause:
                print(f"seed {seed}: {told['name']} {told['parameters']}: {subject}:\n{text}\n", flush=True)
        if told["name"] not in DEGRADED:
            for pair in random.sample(whole, min(2, len(whole))):
                if not _steady(cluster, pair, port):
                    continue
                kind, text = _cause(cluster, pair, port)
                healthy += 1
                blamed += kind is not None
                if kind is not None:
                    print(f"seed {seed}: {told['name']} {told['parameters']}: blamed, but works:\n{text}\n", flush=True)
        cluster.clear()
        cluster.delete(objects)
        _until_healed(cluster)
    total = sum(asked.values())
    print(f"{len(seeds)} clusters, {total} faults seen from a pod ({unseen} met no pair):")
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
    """Every Service on port 81 besides: known only where the proxy runs."""
    ports = [{"name": "a", "port": 80, "targetPort": 80}, {"name": "b", "port": 81, "targetPort": 80}]
    return [{**o, "spec": {**o["spec"], "ports": ports}} for o in objects if o["kind"] == "Service"]


def _broken(cluster: Cluster, nodes: dict[str, str], before: dict[Pair, bool], port: int) -> tuple[list[Pair], ...]:
    """Which pairs have failed since, and which go on working: looked at again until one has failed."""
    deadline = time.monotonic() + SYMPTOM
    while True:
        time.sleep(0.4)
        after = _reach(cluster, list(nodes), port)
        broken = [pair for pair in before if before[pair] and not after[pair]]
        if broken or time.monotonic() > deadline:
            return broken, [pair for pair in before if before[pair] and after[pair]]


def _reach(cluster: Cluster, names: list[str], port: int = 80) -> dict[Pair, bool]:
    clients = [name for name in names if name.startswith("client-")]
    targets = [name for name in names if not name.startswith("client-")]
    found = {}
    for client in clients:
        probes = "\n".join(f"(curl -s -o /dev/null -m 1.5 http://{t}:{port}; echo {t} $?) &" for t in targets)
        for line in cluster.exec(client, ["sh", "-c", f"{probes}\nwait"]).stdout.splitlines():
            target, code = line.split()
            found[client, target] = code == "0"
    return found


def _steady(cluster: Cluster, pair: Pair, port: int) -> bool:
    """Whether it works every time: one DNS server of two may be lost, or one endpoint."""
    ask = f"curl -s -o /dev/null -m 1 http://{pair[1]}:{port} || exit 1"
    return cluster.exec(pair[0], ["sh", "-c", f"for i in 1 2 3 4 5 6 7 8; do {ask}; done"]).exit_code == 0


def _on_path(told: dict[str, Any], pair: Pair, nodes: dict[str, str]) -> bool:
    """Whether a fault that does not stop the pair is met by it all the same."""
    at = told["parameters"].get("at") or told["parameters"].get("node") or ""
    ends = {nodes[name] for name in pair}
    on_wire = at in ends and len(ends) > 1
    return told["name"] == "dns-slow" or (told["name"] in DEGRADED and (on_wire or at.partition("/")[2] in pair))


def _cause(cluster: Cluster, pair: Pair, port: int) -> tuple[str | None, str]:
    """The kind that explain names, None where it finds nothing wrong; and all it says."""
    told = cluster.explain(pair[0], f"http://{pair[1]}:{port}")
    return told.cause.kind if told.cause else None, str(told)


def _until_healed(cluster: Cluster) -> None:
    deadline = time.monotonic() + 10
    while drift := cluster.api.verb("diff")["drift"]:
        if time.monotonic() > deadline:
            sys.exit(f"this is left over: {drift}")
        time.sleep(0.2)


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:3]] + [40, 0][len(sys.argv) - 1 :])
