"""Pods wired per second: ours (namespace, lease, ADD; ready to ping) beside Mininet's LinuxBridge hosts, in one run.

    python benchmarks/wiring.py [COUNT]        as root; needs the distribution's mininet, else only ours is shown

Mininet runs in network and mount namespaces made for it: all it makes is gone with them, and the host sees nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from minik8s_net.cni.fabric import ensure_fabric
from minik8s_net.cni.node import ensure_node
from minik8s_net.cni.pod import Cni
from minik8s_net.config import ClusterConfig
from minik8s_net.kernel.netns import Netns
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


async def ours(count: int) -> float:
    config = ClusterConfig(name="bench", nodes=1)
    fabric, outside, node = (Netns.anonymous(f"bench.{n}") for n in ("fabric", "outside", "node-1"))
    await ensure_fabric(config, fabric, outside)
    await ensure_node(config, 1, node, fabric)
    with tempfile.TemporaryDirectory() as folder:
        cni = Cni(config, State(Path(folder)))
        start = time.perf_counter()
        pods = [Netns.anonymous(f"p{n}") for n in range(count)]
        results = [await cni.add(node, pod.fd, pod.name) for pod in pods]
        elapsed = time.perf_counter() - start
        ping = pods[0].call(subprocess.run, ["ping", "-c1", "-W1", results[-1].ip], capture_output=True)
        assert ping.returncode == 0
    for each in (*pods, node, outside, fabric):
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
    mine = asyncio.run(ours(count))
    print(f"minik8s: {count} pods in {mine:.3f} s, {1000 * mine / count:.1f} ms each, {count / mine:.0f} pods/s")
    if (theirs := mininet(count)) is not None:
        print(f"Mininet: {count} hosts in {theirs:.3f} s, {1000 * theirs / count:.1f} ms each, {count / theirs:.0f} hosts/s")
        print(f"ratio: {theirs / mine:.1f}")


if __name__ == "__main__":
    main()
