"""What an exec costs: 1200 of a short command, three at a time, over WebSockets on HTTPS as kubectl speaks them.

    python -m benchmarks.exec [COUNT]

A cluster of its own with one pod; the clients are three threads of this process. Target: 1200 in one minute, none lost.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time

from minik8s_net import Cluster
from minik8s_net.client import exec as client
from minik8s_net.client.http import Api

CLIENTS, COUNT, MINUTE = 3, 1200, 60.0
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "box"},
    "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"]}]},
}


def work(api: Api, numbers: list[int], times: list[float], failures: list[str]) -> None:
    """Each command must print its own number and end with a code of its own."""
    for number in numbers:
        begin = time.perf_counter()
        try:
            done = client.run(api, "default", "box", ["sh", "-c", f"echo {number}; exit {number % 3}"])
            if (done.exit_code, done.stdout) != (number % 3, f"{number}\n"):
                failures.append(f"{number}: {done!r}")
        except Exception as error:  # counted and printed: a lost exec is a result
            failures.append(f"{number}: {error!r}")
        times.append(time.perf_counter() - begin)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with Cluster.up(name="bench-exec", nodes=1) as cluster:
        cluster.apply(POD)
        cluster.wait("pod/box")
        times: list[float] = []
        failures: list[str] = []
        threads = [
            threading.Thread(
                target=work, args=(Api(cluster.api.connection), list(range(i, count, CLIENTS)), times, failures)
            )
            for i in range(CLIENTS)
        ]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - begin
    rate = count / took
    print(f"{count} execs, {CLIENTS} at a time: {took:.1f} s, {rate:.0f} a second, {len(failures)} failed")
    worst = statistics.quantiles(times, n=100)[98]
    print(f"one exec: median {statistics.median(times) * 1e3:.1f} ms, 99 % {worst * 1e3:.1f} ms")
    print(f"target: {COUNT} in {MINUTE:.0f} s: {rate * MINUTE / COUNT:.1f} times as fast")
    for failure in failures[:5]:
        print(f"  {failure}")
    if failures or rate * MINUTE < COUNT:
        sys.exit("the target was missed")


if __name__ == "__main__":
    main()
