"""What the API costs over HTTPS: a durable write, 1000 Services, 500 pods as a Table.

    python -m benchmarks.apiserver

A server of its own over a temporary store on loopback, in this process; the client is another thread of it, so the two
share the interpreter and a separate client sees somewhat better figures. Targets: a write acknowledged in at most 5 ms
(median), 1000 Services in at most 5 s, the Table in at most 0.3 s.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from tests.apiserver.serving import Api, serving

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
POD_SPEC = {"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]}


def writes(api: Api, count: int = 500) -> None:
    times = []
    for number in range(count):
        begin = time.perf_counter()
        api.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{number}"}, "data": {"x": "y"}})
        times.append(time.perf_counter() - begin)
    worst = statistics.quantiles(times, n=100)[98]
    print(f"durable write acknowledged: median {statistics.median(times) * 1e3:.2f} ms, 99 % {worst * 1e3:.2f} ms")


def services(api: Api, count: int = 1000) -> None:
    begin = time.perf_counter()
    for number in range(count):
        spec = {"selector": {"app": f"s{number}"}, "ports": [{"port": 80}]}
        api.create("/api/v1/namespaces/default/services", {"metadata": {"name": f"s{number}"}, "spec": spec})
    print(f"{count} Services, one after the other: {time.perf_counter() - begin:.2f} s")


def table(api: Api, count: int = 500) -> None:
    path = "/api/v1/namespaces/default/pods"
    for number in range(count):
        api.create(path, {"metadata": {"name": f"p{number}"}, "spec": POD_SPEC})
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        assert len(api.get(path, accept=TABLE)["rows"]) == count
        times.append(time.perf_counter() - begin)
    print(f"{count} pods as a Table: median {statistics.median(times) * 1e3:.0f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as cluster, cluster.api() as api:
        writes(api)
        services(api)
        table(api)


if __name__ == "__main__":
    main()
