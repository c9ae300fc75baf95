"""How Service rules scale: first load, one Service more, one removed, and a new connection's look-up; both modes.

    python -m benchmarks.services [1000 5000]

Runs as root or under `unshare -Urmn`, in namespaces of its own. The look-up is timed by connecting, from the node, to
a Service whose one endpoint is the node's own listener on loopback: no wire, only rules.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time

from minik8s_net.kernel import rtnetlink, sysctl
from minik8s_net.kernel.ensure import Wanted, ensure
from minik8s_net.kernel.netns import Netns
from minik8s_net.proxy.backend import backend
from minik8s_net.proxy.model import Endpoint, Node, ServicePort
from minik8s_net.proxy.rules import Rules

NODE = Node("node-1", "172.18.1.1")
LISTENER = "172.18.1.1"


def service(i: int, endpoints: tuple[Endpoint, ...] = ()) -> ServicePort:
    pair = (Endpoint(f"10.244.1.{i % 250 + 2}", 8080, True), Endpoint(f"10.244.2.{i % 250 + 2}", 8080, False))
    return ServicePort(
        "bench", f"svc-{i}", "http", "tcp", f"10.96.{i // 250}.{i % 250 + 2}", 80, cluster=endpoints or pair,
        endpoints_anywhere=True,
    )  # fmt: skip


def measure(mode: str, count: int) -> None:
    netns, rules = Netns.anonymous("bench"), backend(mode)
    wanted = Wanted(links=[rtnetlink.Link("lo")], addresses=[rtnetlink.Address(LISTENER, 32, "lo")])
    netns.call(ensure, wanted)
    netns.call(ensure, Wanted(routes=[rtnetlink.Route("10.96.0.0/16", dev="lo")]))
    netns.call(sysctl.ensure, {"net.ipv4.conf.all.route_localnet": 1})
    server = netns.call(socket.create_server, (LISTENER, 9000), backlog=4096)
    here = (Endpoint(LISTENER, 9000, True),)
    ports = [service(i, here if i in (0, count - 1) else ()) for i in range(count)]

    def load() -> list[Rules]:
        rendered = [rules.render([port], NODE) for port in ports]
        rules.write([rules.delta(Rules(), want) for want in (rules.base(NODE), *rendered)])
        return rendered

    times = {f"load {count}": timed(netns, load)}
    one = rules.render([service(count + 7)], NODE)
    times["one more"] = timed(netns, lambda: rules.write([rules.delta(Rules(), one)]))
    times["one less"] = timed(netns, lambda: rules.write([rules.delta(one, Rules())]))
    for name, i in (("connect to first", 0), ("connect to last", count - 1)):
        times[name] = connect(netns, server, ports[i].cluster_ip)
    print(f"{mode:9}", "  ".join(f"{name} {seconds * 1e3:.3f} ms" for name, seconds in times.items()), flush=True)
    server.close()
    netns.close()


def timed(netns: Netns, work: object) -> float:
    begin = time.perf_counter()
    netns.call(work)  # type: ignore[arg-type]
    return time.perf_counter() - begin


def connect(netns: Netns, server: socket.socket, address: str, times: int = 500) -> float:
    """Median seconds of connect()."""
    taken = []
    for _ in range(times):
        client = netns.call(socket.socket)
        begin = time.perf_counter()
        client.connect((address, 80))
        taken.append(time.perf_counter() - begin)
        server.accept()[0].close()
        client.close()
    return statistics.median(taken)


if __name__ == "__main__":
    for number in [int(n) for n in sys.argv[1:]] or [1000, 5000]:
        for proxy_mode in ("iptables", "nftables"):
            measure(proxy_mode, number)
