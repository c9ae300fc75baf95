"""What a trace takes, and what it costs everybody else: time per trace, throughput before, after and meanwhile.

    python -m benchmarks.trace [SERVICES]

Brings up a cluster of two nodes of its own (as root or rootless) and ends it. SERVICES (default 300) more Services are
made for the last lines. Throughput is iperf3's, one TCP stream from a pod of node-1 to a pod of node-2.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from statistics import median

from minik8s_net import Cluster

SECONDS, ROUNDS, TRACES = 2, 3, 15
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: {image}}}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: far}}, ports: [{{port: {port}, targetPort: 8080}}]}}
"""
DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: mute}}, policyTypes: [Egress], egress: []}
"""


def objects() -> str:
    server, tool = "agnhost, args: [netexec]", "busybox, command: [sleep, '9999']"
    meter = "busybox, command: [iperf3, -s]"
    pods = [("client", "node-1", tool), ("mute", "node-1", tool), ("far", "node-2", server), ("meter", "node-2", meter)]
    parts = [POD.format(name=name, node=node, image=image) for name, node, image in pods]
    return "---".join([*parts, SERVICE.format(name="far", port=80), DENY])


def throughput(c: Cluster, ip: str) -> float:
    """Gbit/s, the median of some runs."""
    runs: list[float] = []
    for _ in range(ROUNDS):
        told = json.loads(c.exec("client", f"iperf3 -c {ip} -t {SECONDS} -J").stdout)
        runs.append(told["end"]["sum_received"]["bits_per_second"] / 1e9)
    return median(runs)


def traced(c: Cluster, what: str, source: str, target: str) -> None:
    found = [c.trace(source, target) for _ in range(TRACES)]
    times = sorted(t.milliseconds for t in found)
    worst = f"worst of {TRACES}: {times[-1]:.0f} ms"
    print(f"  {what:<34} {median(times):6.0f} ms   {worst}, {len(found[0].stations)} stations")


def meanwhile(c: Cluster, ip: str) -> float:
    """Throughput while one trace after the other is taken, of another flow between the same nodes."""
    done = threading.Event()

    def trace_on() -> None:
        own = Cluster(c._kubeconfig, name=c.name)  # a connection of its own
        while not done.is_set():
            own.trace("client", "http://far")

    thread = threading.Thread(target=trace_on)
    thread.start()
    try:
        return throughput(c, ip)
    finally:
        done.set()
        thread.join()


def main(services: int = 300) -> None:
    if not shutil.which("iperf3"):
        sys.exit("NOTHING WAS MEASURED: iperf3 is missing; apt-get install iperf3")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINIK8S_HOME"] = folder
        with Cluster.up("bench-trace", nodes=2) as c:
            c.apply(objects())
            for name in ("client", "mute", "far", "meter"):
                c.wait(f"pod/{name}")
            ip = c.get("pod", "meter").status.podIP
            while not c.trace("client", "http://far").delivered:
                time.sleep(0.1)
            c.exec("client", f"iperf3 -c {ip} -t 1")
            report(c, ip, services)


def report(c: Cluster, ip: str, services: int) -> None:
    before = throughput(c, ip)
    print("a trace takes:")
    far = c.get("pod", "far").status.podIP
    traced(c, "pod on another node", "client", f"{far}:8080")
    traced(c, "name, Service, another node", "client", "http://far")
    traced(c, "dropped by a policy", "mute", f"{far}:8080")
    after, during = throughput(c, ip), meanwhile(c, ip)
    print("throughput of another flow, Gbit/s:")
    print(f"  before any trace                   {before:6.2f}")
    print(f"  after {3 * TRACES} traces                    {after:6.2f}   {after / before:.2f} of before")
    print(f"  while tracing all the time         {during:6.2f}   {during / before:.2f} of before")
    c.apply("---".join(SERVICE.format(name=f"more-{i}", port=81) for i in range(services)))
    while c.trace("client", f"svc/more-{services - 1}").verdict != "delivered":
        time.sleep(0.2)
    print(f"with {services} Services more:")
    traced(c, "name, Service, another node", "client", "http://far")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
