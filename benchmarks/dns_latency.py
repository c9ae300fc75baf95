"""From a pod becoming ready to its name being answered, in a live cluster: `python -m benchmarks.dns_latency`.

    python -m benchmarks.dns_latency [--pods 500] [--nodes 5] [--samples 20]

500 pods (pause) stand behind one headless Service; then one more pod after the other, each with a hostname of its own
there. The clock starts when the API tells a watcher of ours that the pod is Ready, and stops at the first right answer
to a question asked over and over, inside a node's namespace, from the Service kube-dns. Needs root (it enters that
namespace). Prints milliseconds; exit status 1 if the median is above 50.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PODS, SLICES = "/api/v1/namespaces/default/pods", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
LIMIT_MS, NAME, DNS = 50, "dnslat", ("10.96.0.10", 53)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--samples", type=int, default=20)
    options = parser.parse_args()
    if os.getuid():
        print("NOTHING WAS MEASURED: entering a node's namespace from outside needs root")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HOME": folder, "MINIK8S_HOME": f"{folder}/state"}
        from minik8s_net import Cluster

        with Cluster.up(NAME, nodes=options.nodes) as cluster:
            began = time.monotonic()
            populate(cluster, options.pods)
            print(f"{options.pods} pods ready on {options.nodes} nodes in {time.monotonic() - began:.1f} s")
            took = measure(cluster, options.samples)
    took.sort()
    median, worst = statistics.median(took), took[-1]
    print(f"ready to answered: {median:.1f} ms in the median, {took[len(took) * 9 // 10]:.1f} ms in nine of ten, "
          f"{worst:.1f} ms at most ({len(took)} pods)")  # fmt: skip
    return 0 if median <= LIMIT_MS else 1


def populate(cluster: Any, count: int) -> None:
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "many"}}
    container = {"name": "c", "image": "pause"}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": {"app": "many"}}, "spec": pod}
    spec = {"replicas": count, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    cluster.apply([
        {**head, "spec": {"clusterIP": "None", "selector": {"app": "many"}, "ports": [{"port": 80}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec},
    ])  # fmt: skip
    cluster.wait("deployment/many", "condition=Available", timeout=300)
    deadline = time.monotonic() + 300
    while (cluster.get("deployment", "many").status.readyReplicas or 0) < count and time.monotonic() < deadline:
        time.sleep(0.2)


def measure(cluster: Any, samples: int) -> list[float]:
    """ms per pod."""
    from minik8s_net.boot.record import Record
    from minik8s_net.kernel.netns import NETNS_DIR, Netns
    from minik8s_net.state import State

    ready: dict[str, float] = {}
    listed: dict[str, float] = {}
    for path, heard, seen in ((PODS, hear_pod, ready), (SLICES, hear_slice, listed)):
        threading.Thread(target=watch, args=(path, heard, seen), daemon=True).start()
    runtime = Record(State.of(NAME)).alive("runtime")
    assert runtime is not None
    path = Path(f"/proc/{runtime.pid}/root") / NETNS_DIR.relative_to("/") / f"{NAME}.node-1"
    node, took = Netns("node-1", path), []
    for i in range(samples):
        name = f"late-{i}"
        spec = {"containers": [{"name": "c", "image": "pause"}], "hostname": name, "subdomain": "many"}
        meta = {"name": name, "labels": {"app": "many"}}
        asking = threading.Thread(target=lambda n=name: took.append((n, node.call(first_answer, n))))
        asking.start()
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        asking.join()
        time.sleep(0.1)
    node.close()
    until = [(listed[name] - ready[name]) * 1e3 for name, _ in took if name in ready and name in listed]
    print(f"of which until it is in the EndpointSlice: {statistics.median(until):.1f} ms in the median")
    return [(at - ready[name]) * 1e3 for name, at in took if name in ready]


def watch(path: str, heard: Callable[[Any], list[str]], seen: dict[str, float]) -> None:
    """When the API first told of each name that `heard` finds in an object. Ends with the cluster."""
    from minik8s_net.client.http import Api, Unreachable
    from minik8s_net.state import State

    api, rest = Api.load(State.of(NAME).kubeconfig, None), b""
    with contextlib.suppress(Unreachable):
        for piece in api.stream(path, {"watch": "true"}):
            *lines, rest = (rest + piece).split(b"\n")
            now = time.monotonic()
            for name in (name for line in lines for name in heard(json.loads(line)["object"])):
                seen.setdefault(name, now)


def hear_pod(obj: Any) -> list[str]:
    conditions = obj.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return [obj["metadata"]["name"]] if ready else []


def hear_slice(obj: Any) -> list[str]:
    return [e.get("hostname", "") for e in obj.get("endpoints") or () if e["conditions"].get("ready")]


def first_answer(name: str) -> float:
    """Asked every millisecond, in the thread of a node's namespace; when its address came. Raises TimeoutError."""
    from benchmarks.dns import ask

    question = ask(f"{name}.many.default.svc.cluster.local")
    deadline = time.monotonic() + 30
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        probe.connect(DNS)
        while time.monotonic() < deadline:
            probe.send(question)
            if probe.recv(2048)[7]:  # answers
                return time.monotonic()
            time.sleep(0.001)
    raise TimeoutError(f"{name} was never answered")


if __name__ == "__main__":
    sys.exit(main())
