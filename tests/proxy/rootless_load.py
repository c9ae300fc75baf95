"""Run as an ordinary user in namespaces of its own: a big load in pieces, and what a reader sees meanwhile.

`python rootless_load.py MODE COUNT` prints JSON: how often somebody looked, and which Services were seen half.
"""

from __future__ import annotations

import json
import sys
import threading

from minik8s_net.kernel import nftnl
from minik8s_net.proxy import nfttables
from minik8s_net.proxy.backend import backend, lines_at_once
from minik8s_net.proxy.model import Endpoint, Node, ServicePort
from minik8s_net.proxy.rules import Rules

NODE = Node("node-1", "172.18.1.1")


def service(i: int, endpoints: int) -> ServicePort:
    listed = tuple(Endpoint(f"10.244.1.{n + 2}", 8080, True) for n in range(endpoints))
    return ServicePort("test", f"svc-{i}", "http", "tcp", f"10.96.{i // 250}.{i % 250 + 2}", 80, node_port=0,
                       cluster=listed, endpoints_anywhere=True)  # fmt: skip


def main(mode: str, count: int) -> None:
    kernel = backend(mode)
    ports = [service(i, 200 if i == count // 2 else 2) for i in range(count)]
    placed = kernel.placed({f"test/{port.service}": kernel.render([port], NODE) for port in ports})
    services = list(placed.values())
    kernel.write([kernel.delta(Rules(), kernel.base(NODE))])
    writing = threading.Thread(target=kernel.write, args=([kernel.delta(Rules(), want) for want in services],))
    writing.start()
    looks, half = 0, []
    while True:
        last = not writing.is_alive()
        have, looks = kernel.read(), looks + 1
        there = [i for i, want in enumerate(services) if any(e in have.entries for e in want.entries)]
        half += [i for i in there if any(have.chains.get(c) != body for c, body in services[i].chains.items())]
        if last:
            break
    tables = nfttables.ours(nftnl.tables())
    kernel.write([kernel.delta(want, Rules()) for want in services])
    left = [name for _, name in kernel.read().chains if "svc-" in name or "SVC" in name or "SEP" in name]
    print(
        json.dumps(
            {
                "lines": lines_at_once(),
                "looks": looks,
                "half": half,
                "there": len(there),
                "left": left,
                "tables": tables,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
