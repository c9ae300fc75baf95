"""Pods wired per second: ours (namespace, lease, ADD; ready to ping) beside Mininet's LinuxBridge hosts, in one run.

    python benchmarks/wiring.py [COUNT]        as root; needs mininet and bridge-utils, else only ours is shown

Three rounds of each, by turns; the median counts. As the runtime does, one thread makes all namespaces.

Mininet runs in network and mount namespaces made for it: all it makes is gone with them, and the host sees nothing.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))
from minik8s_net.cni.fabric import ensure_fabric
from minik8s_net.cni.node import ensure_node
from minik8s_net.cni.pod import Cni
from minik8s_net.config import ClusterConfig
from minik8s_net.kernel.netns import CLONE_NEWNET, Netns, inside, unshare
from minik8s_net.state import State

MININET = """
import sys, time
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
Mininet.inited = True  # its init raises limits of the whole machine
net = Mininet(controller=None, switch=LinuxBridge)
start = time.perf_counter()
switch = net.addSwitch("s1")
for n in range(int(sys.argv[1])):
    host = net.addHost(f"h{n}", ip=f"10.1.0.{n + 1}/24")
    net.addLink(host, switch)
net.configHosts()
switch.start([])
elapsed = time.perf_counter() - start
assert " 0% packet loss" in net.hosts[0].cmd("ping -c1 -W1", net.hosts[-1].IP())
print("seconds", elapsed)
net.stop()
"""


def new_netns() -> int:
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


async def ours(count: int) -> float:
    config = ClusterConfig(name="bench", nodes=1)
    fabric, outside, node = (Netns.anonymous(f"bench.{n}") for n in ("fabric", "outside", "node-1"))
    await ensure_fabric(config, fabric, outside)
    await ensure_node(config, 1, node, fabric)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as maker:
        cni = Cni(config, State(Path(folder)))
        start = time.perf_counter()
        pods = [maker.submit(new_netns).result() for _ in range(count)]
        results = [await cni.add(node, pod, f"p{n}") for n, pod in enumerate(pods)]
        elapsed = time.perf_counter() - start
        command = ["ping", "-c1", "-W1", results[-1].ip]
        node.call(
            inside,
            pods[0],
            node.fd,
            functools.partial(subprocess.run, command, check=True, capture_output=True),
        )
    for pod in pods:
        os.close(pod)
    for each in (node, outside, fabric):
        each.close()
    return elapsed


def mininet(count: int) -> float | None:
    command = ["unshare", "--net", "--mount", "/usr/bin/python3", "-c", MININET, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"Mininet: not measured: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    return float(done.stdout.split("seconds")[1].split()[0])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    mine, theirs = [], []
    for _ in range(3):
        mine.append(asyncio.run(ours(count)))
        if (seconds := mininet(count)) is not None:
            theirs.append(seconds)
    for name, seconds in (("minik8s", mine), ("Mininet", theirs)):
        if seconds:
            print(f"{name}: {count} in {median(seconds):.3f} s, {1000 * median(seconds) / count:.1f} ms each")
    if theirs:
        print(f"ratio: {median(theirs) / median(mine):.1f}")


if __name__ == "__main__":
    main()
