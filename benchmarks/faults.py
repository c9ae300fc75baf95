"""A hundred random faults in a row on one cluster: is anything left over? And how quickly is a breakage healed?

    python -m benchmarks.faults [COUNT]

Every fault is injected by its seed, cleared, and then compared: the kernel's state with that before (links,
addresses, routes, rules, sets, as the tools print them), reachability with what the policies say, pods' names with
their namespaces. Healing is timed from the breakage until the kernel is as it should be. Clusters are real ones.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from minik8s_net import Cluster
from tests.conftest import Home
from tests.faults.conftest import OBJECTS
from tests.faults.kernelstate import State, difference, kernel_state

NAME = "bench-faults"
BREAKAGES = (
    ("node-1", "ip route del 10.244.2.0/24"),
    ("node-1", "ip link set cni0 down"),
    ("node-2", "ip link del eth0"),
    ("node-1", "sysctl -qw net.ipv4.ip_forward=0"),
    ("default/pod/web", "ip addr flush dev eth0"),
    ("default/pod/web", "ip link del eth0"),
    ("node-1", "iptables -t nat -F"),
    ("node-1", "iptables -F"),
    ("node-1", "ipset flush"),
    ("node-1", "nft flush ruleset"),
)
PAIRS = {("client", "web"): 0, ("other", "web"): 0, ("near", "web"): 28, ("client", "near"): 0, ("web", "near"): 0}
PATIENCE = 20.0  # seconds until the state must be as before


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        os.environ["MINIK8S_HOME"] = str(Path(folder) / "state")
        home.minik8s("up", "--cluster", NAME, "--nodes", "3")
        try:
            cluster = home.cluster(NAME)
            cluster.apply(OBJECTS)
            for name in ("client", "other", "near", "web"):
                cluster.wait(f"pod/{name}")
            faults(cluster, count)
            healing(cluster)
        finally:
            home.minik8s("down", "--all")


def faults(cluster: Cluster, count: int) -> None:
    before = kernel_state(cluster)
    kinds: Counter[str] = Counter()
    left = wrong = 0
    began = time.monotonic()
    for seed in range(count):
        cluster.fault("random", seed=seed, hidden=True)
        (cleared,) = cluster.clear()
        kinds[cleared["name"]] += 1
        remains = _remains(cluster, before)
        unlike = {pair: code for pair, want in PAIRS.items() if (code := _curl(cluster, *pair)) != want}
        left, wrong = left + bool(remains), wrong + bool(unlike)
        if remains or unlike:
            print(f"seed {seed}: {cleared['name']} {cleared['parameters']}: {remains[:3]} {unlike}")
    print(f"{count} random faults in {time.monotonic() - began:.0f} s: {dict(sorted(kinds.items()))}")
    print(f"  something left over after {left}; reachability other than the policies say after {wrong}")
    print(f"  faults in the record: {len(cluster.faults())}, drift: {len(cluster.diff())}")


def _remains(cluster: Cluster, before: State) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    while (found := difference(before, kernel_state(cluster))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _curl(cluster: Cluster, source: str, target: str) -> int:
    address = cluster.get("pod", target).status.podIP
    argv = ["curl", "-s", "-o", "/dev/null", "-m", "1.5", f"http://{address}/"]
    return cluster.exec(source, argv).exit_code


def healing(cluster: Cluster) -> None:
    times = []
    for place, command in BREAKAGES:
        cluster.shell(place, command)  # returns some 0.1 s after the breakage
        began = time.monotonic()
        while cluster.diff():
            time.sleep(0.02)
        times.append(time.monotonic() - began)
        print(f"healed after {times[-1]:.2f} s: {place}: {command}")
        time.sleep(0.5)
    print(f"{len(times)} breakages: median {statistics.median(times):.2f} s, longest {max(times):.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
