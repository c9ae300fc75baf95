"""How long a snapshot takes to come back: 3 nodes, 30 pods, 20 Services, 10 policies, everything deleted before.

    python -m benchmarks.snapshot [ROUNDS]

Also: what the controller costs while nothing happens (5 nodes, 150 pods), healing and all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from minik8s_net import Cluster
from tests.conftest import Home
from tests.faults.conftest import policy, service
from tests.faults.kernelstate import difference, kernel_state

NAME, IDLE = "bench-snapshot", "bench-idle"


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels, container = {"app": name}, {"name": "c", "image": "nginx"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        os.environ["MINIK8S_HOME"] = str(Path(folder) / "state")
        try:
            _restore(home, rounds)
            home.minik8s("down", "--all")
            _idle(home)
        finally:
            home.minik8s("down", "--all")


def _restore(home: Home, rounds: int) -> None:
    home.minik8s("up", "--cluster", NAME, "--nodes", "3")
    cluster = home.cluster(NAME)
    for i in range(10):
        app = f"app-{i}"
        cluster.apply([deployment(app, 3), service(f"{app}-a", app), service(f"{app}-b", app)])
        cluster.apply([policy(app, app, f"app-{(i + 1) % 10}")])
    _ready(cluster, 30)
    time.sleep(2)
    before = kernel_state(cluster)
    cluster.snapshot("all")
    for _ in range(rounds):
        for kind, group in (
            ("deployments", "apps/v1"),
            ("services", "v1"),
            ("networkpolicies", "networking.k8s.io/v1"),
        ):
            root = "/api/v1" if group == "v1" else f"/apis/{group}"
            for one in cluster.api.request("GET", f"{root}/namespaces/default/{kind}")["items"]:
                if one["metadata"]["name"] != "kubernetes":
                    cluster.api.request("DELETE", f"{root}/namespaces/default/{kind}/{one['metadata']['name']}")
        time.sleep(3)
        told = cluster.restore("all")
        left = difference(before, kernel_state(cluster))
        print(f"restored in {told['seconds']:.2f} s: {told['written']} objects written, {len(told['revived'])} pods "
              f"started again, {len(left)} differences in the kernel")  # fmt: skip


def _idle(home: Home) -> None:
    home.minik8s("up", "--cluster", IDLE, "--nodes", "5")
    cluster = home.cluster(IDLE)
    cluster.apply([deployment("many", 150)])
    _ready(cluster, 150)
    time.sleep(5)
    pid = json.loads(home.state(IDLE).owned.read_text())["controller"]["pid"]
    began, used = time.monotonic(), _cpu(pid)
    time.sleep(20)
    share = (_cpu(pid) - used) / (time.monotonic() - began)
    print(f"controller of 5 nodes and 150 idle pods: {100 * share:.1f} % of one processor")


def _ready(cluster: Cluster, count: int) -> None:
    while True:
        pods = cluster.api.request("GET", "/api/v1/namespaces/default/pods")["items"]
        conditions = [c for p in pods for c in p.get("status", {}).get("conditions", [])]
        if sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions) >= count:
            return
        time.sleep(0.1)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
