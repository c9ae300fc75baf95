"""What the API costs over HTTPS, and that nobody disturbs it: writes, lists, idle watches, generated requests.

    python -m benchmarks.apiserver [writes services table watches generated]

A server of its own over a temporary store on loopback, in this process; the client is another thread of it, so the two
share the interpreter and a separate client sees somewhat better figures. Targets: a write acknowledged in at most 5 ms
(median), 1000 Services in at most 5 s (a real API server with etcd: 5.0 s), the Table in at most 0.3 s; 1000 idle
watches and 10 000 generated requests: no difference, no 5xx, no hang.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.apiserver.generated import run
from tests.apiserver.serving import Api, Serving, serving

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
POD_SPEC = {"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]}
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def timed(work: Callable[[int], object], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    times = []
    for number in range(count):
        begin = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - begin)
    return times


def shown(times: list[float]) -> str:
    worst = statistics.quantiles(times, n=100)[98]
    return f"median {statistics.median(times) * 1e3:.2f} ms, 99 % {worst * 1e3:.2f} ms"


def writes(_: Serving, api: Api, count: int = 500) -> None:
    """Objects created one after the other, each on the disk before it is acknowledged."""

    def create(number: int) -> None:
        api.create(CONFIGMAPS, {"metadata": {"name": f"c{number}"}, "data": {"x": "y"}})

    print(f"durable write acknowledged: {shown(timed(create, count))} (target: median 5 ms)")


def services(_: Serving, api: Api, count: int = 1000) -> None:
    """As `kubectl create` would make them, one connection."""

    def create(number: int) -> None:
        spec = {"selector": {"app": f"s{number}"}, "ports": [{"port": 80}]}
        api.create("/api/v1/namespaces/default/services", {"metadata": {"name": f"s{number}"}, "spec": spec})

    print(f"{count} Services, one after the other: {sum(timed(create, count)):.2f} s (target 5 s)")


def table(_: Serving, api: Api, count: int = 500) -> None:
    """`kubectl get pods`."""
    path = "/api/v1/namespaces/default/pods"
    for number in range(count):
        api.create(path, {"metadata": {"name": f"p{number}"}, "spec": POD_SPEC})

    def read(_: int) -> None:
        assert len(api.get(path, accept=TABLE)["rows"]) == count

    print(f"{count} pods as a Table: median {statistics.median(timed(read, 10)) * 1e3:.0f} ms (target 300 ms)")


def watches(cluster: Serving, api: Api, count: int = 1000) -> None:
    """The same reads and writes before and during `count` open watches of another kind, and of the same."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))

    def write(number: int) -> None:
        assert api("PUT", f"{CONFIGMAPS}/w", {"metadata": {"name": "w"}, "data": {"n": str(number)}}).code == 200

    api.create(CONFIGMAPS, {"metadata": {"name": "w"}})
    print(f"writes without watches:           {shown(timed(write, 200))}")
    for what, path in (("idle (Secrets)", "/api/v1/secrets"), ("told of each write", CONFIGMAPS)):
        with ExitStack() as stack:
            for _ in range(count):
                watcher = stack.enter_context(cluster.api())
                stack.enter_context(watcher.open("GET", f"{path}?watch=1"))
            print(f"with {count} watches, {what}: {shown(timed(write, 100))}")


def generated(_: Serving, api: Api, count: int = 10_000) -> None:
    """Requests made from the OpenAPI documents; prints how often each status came."""
    begin = time.perf_counter()
    codes, failed = run(api, seed=2026, count=count)
    seconds = time.perf_counter() - begin
    print(f"{count} generated requests in {seconds:.0f} s: " + ", ".join(f"{c}: {n}" for c, n in sorted(codes.items())))
    for asked, code, body in failed:
        print(f"  {code} {asked.method} {asked.path}: {body[:200]!r}")
    print(f"5xx: {len(failed)} (target 0)")


def main(names: list[str]) -> None:
    """All, or those named."""
    for measure in (writes, services, table, watches, generated):
        if not names or measure.__name__ in names:
            with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as cluster, cluster.api() as api:
                measure(cluster, api)


if __name__ == "__main__":
    main(sys.argv[1:])
