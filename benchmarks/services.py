"""How Service rules scale: first load, one Service more or less, and what a new connection pays; in both modes.

    python -m benchmarks.services [1000 5000]

Runs as root or under `unshare -Urmn`, in namespaces of its own. Each Service has two endpoints. What a connection pays
is timed by connecting, from the node, to a Service whose one endpoint is the node's own listener: no wire, only rules.
"The kernel's check" is what the kernel takes to see that a table has no loops: it does so whenever a jump is added, and
no tool can spare it that. The Service that comes is one of the last table, when that is as full as it gets.
"""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable
from statistics import median

from minik8s_net.kernel import nftnl, rtnetlink, sysctl
from minik8s_net.kernel.ensure import Wanted, ensure
from minik8s_net.kernel.netns import Netns
from minik8s_net.proxy import nfttables
from minik8s_net.proxy.backend import Backend, backend
from minik8s_net.proxy.model import Endpoint, Node, ServicePort
from minik8s_net.proxy.rules import Rules

NODE = Node("node-1", "172.18.1.1")
LISTENER = "172.18.1.1"
ROUNDS, CONNECTIONS = 7, 500


def service(i: int, endpoints: tuple[Endpoint, ...] = ()) -> ServicePort:
    pair = (Endpoint(f"10.244.1.{i % 250 + 2}", 8080, True), Endpoint(f"10.244.2.{i % 250 + 2}", 8080, False))
    return ServicePort(
        "bench", f"svc-{i}", "http", "tcp", f"10.96.{i // 250}.{i % 250 + 2}", 80, cluster=endpoints or pair,
        endpoints_anywhere=True,
    )  # fmt: skip


def measure(mode: str, count: int) -> None:
    netns, rules = node(), backend(mode)
    server = netns.call(socket.create_server, (LISTENER, 9000), backlog=4096)
    here = (Endpoint(LISTENER, 9000, True),)
    ports = [service(i, here if i in (0, count - 1) else ()) for i in range(count)]
    gc.collect()
    load = timed(netns, lambda: write_all(rules, ports))
    more, less = change(netns, rules, ports[-2])
    first, last = connect(netns, server, ports[0].cluster_ip, ports[-1].cluster_ip)
    print(f"{mode}, {count} Services x 2 endpoints:")
    print(f"  first load            {load:8.2f} s")
    print(f"  one Service more      {more * 1e3:8.2f} ms   {the_check(mode, netns, count)}")
    print(f"  one Service less      {less * 1e3:8.2f} ms")
    if mode == "nftables" and count % nfttables.SERVICES == 0:  # the next one's table is not there yet
        new, gone = change(netns, rules, service(count), there=False)
        print(f"  one more, new table   {new * 1e3:8.2f} ms   one less, and its table: {gone * 1e3:.2f} ms")
    print(f"  connect to the first  {first * 1e6:8.1f} us")
    print(f"  connect to the last   {last * 1e6:8.1f} us   {last / first:.2f} of the first", flush=True)
    rules.close()
    server.close()
    netns.close()


def node() -> Netns:
    """A namespace with the listener's address, and a way for the Services' addresses."""
    netns = Netns.anonymous("bench")
    wanted = Wanted(links=[rtnetlink.Link("lo")], addresses=[rtnetlink.Address(LISTENER, 32, "lo")])
    netns.call(ensure, wanted)
    netns.call(ensure, Wanted(routes=[rtnetlink.Route("10.96.0.0/16", dev="lo")]))
    netns.call(sysctl.ensure, {"net.ipv4.conf.all.route_localnet": 1})
    return netns


def write_all(rules: Backend, ports: list[ServicePort]) -> None:
    placed = rules.placed({key(port): rules.render([port], NODE) for port in ports})
    rules.write([rules.delta(Rules(), want) for want in (rules.base(NODE), *placed.values())])


def key(port: ServicePort) -> str:
    return f"{port.namespace}/{port.service}"


def change(netns: Netns, rules: Backend, port: ServicePort, *, there: bool = True) -> tuple[float, float]:
    """Median seconds to put a Service in and to take it out, by turns; `there`: it is in now, and is in afterwards."""
    one, name = rules.render([port], NODE), key(port)
    more, less = [], []
    for _ in range(ROUNDS):
        if there:
            less.append(timed(netns, lambda: write_one(rules, name, one, Rules())))
        more.append(timed(netns, lambda: write_one(rules, name, Rules(), one)))
        if not there:
            less.append(timed(netns, lambda: write_one(rules, name, one, Rules())))
    return median(more), median(less)


def write_one(rules: Backend, name: str, have: Rules, want: Rules) -> None:
    """As the proxier does it: in the table where the Service is or comes to be."""
    base = rules.base(NODE)
    written = rules.placed({name: have})[name]
    wanted = rules.placed({name: want})[name]
    rules.write([rules.delta(base, rules.base(NODE)), rules.delta(written, wanted)])


def the_check(mode: str, netns: Netns, count: int) -> str:
    """How much of that is the kernel's check of the last table: the least change that makes it check."""
    if mode != "nftables":
        return ""
    tables = -(-count // nfttables.SERVICES)
    table = nfttables.FIRST + (f"-{tables}" if tables > 1 else "")
    taken = []
    for n in range(ROUNDS):
        chain = f"service-check-{n}"
        jump = nftnl.element(socket.inet_aton(f"203.0.113.{n}") + b"\6\0\0\0\0\1\0\0", nftnl.verdict(nftnl.GOTO, chain))
        messages = [
            nftnl.new_chain(table, chain),
            nftnl.add_elements(table, "service-ips", [jump]),
        ]
        connection = netns.call(nftnl.Connection)
        taken.append(timed(netns, lambda c=connection, m=messages: c.transact(m)))  # type: ignore[misc]
        connection.close()
    return f"the kernel's check of the table alone: {median(taken) * 1e3:.2f} ms"


def timed(netns: Netns, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    netns.call(work)
    return time.perf_counter() - begin


def connect(netns: Netns, server: socket.socket, *addresses: str) -> list[float]:
    """Median seconds of connect() to each address, by turns."""
    taken: dict[str, list[float]] = {address: [] for address in addresses}
    for _ in range(CONNECTIONS):
        for address in addresses:
            client = netns.call(socket.socket)
            begin = time.perf_counter()
            client.connect((address, 80))
            taken[address].append(time.perf_counter() - begin)
            server.accept()[0].close()
            client.close()
    return [median(times) for times in taken.values()]


if __name__ == "__main__":
    for number in [int(n) for n in sys.argv[1:]] or [1000, 5000]:
        for proxy_mode in ("iptables", "nftables"):
            measure(proxy_mode, number)
