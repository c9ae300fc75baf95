"""The table of cases measured: real connections in real namespaces end where the rendered text says they do."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from minik8s_net.kernel.netns import Netns

from .cases import BY_MODE, EXTERNAL, NODES, OUTSIDE, SERVER, Case, objects
from .wiring import Fabric, answer_streams, ask, ask_udp, ip
from .world import World, run

pytestmark = pytest.mark.netns
TRIES = 40  # (2/3)^40: an endpoint of three that is never seen is missing


@pytest.fixture(scope="module")
def outside(fabric: Fabric) -> Any:
    """The host outside serves, and knows the ways that a router would."""
    ip(fabric.outside, *(f"route add 10.244.{i}.0/24 via 172.18.1.{i}" for i in (1, 2)),
       f"route add {EXTERNAL}/32 via {NODES['node-1']}", f"route add 10.96.0.0/16 via {NODES['node-1']}")  # fmt: skip
    server = fabric.outside.call(socket.create_server, ("", SERVER), backlog=128)
    answer_streams(server, OUTSIDE)
    yield
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def measured(fabric: Fabric, case: Case) -> set[str]:
    """The ends that were seen, in the words of `Case.ends`."""
    where: Netns = {**fabric.nodes, **fabric.pods, "outside": fabric.outside}[case.source]
    own = {"outside": OUTSIDE}.get(case.source, case.source)
    seen = set()
    for _ in range(TRIES if len(case.ends) > 1 else 4):
        try:
            if case.protocol == "udp":
                server, source = ask_udp(where, case.address, case.port, timeout=0.3)
            else:
                server, source = ask(where, case.address, case.port, timeout=0.3)
        except ConnectionRefusedError:
            return {"refused"}
        except (TimeoutError, OSError):
            return {"dropped"}
        port = next(end.split(":")[1].split()[0] for end in case.ends if ":" in end)
        seen.add(f"{server}:{port}{' masqueraded' * (source != own)}")
    return seen


def expected(case: Case) -> set[str]:
    """What nobody translates leaves the node by its default route, to a fabric that forwards nothing."""
    if "untouched" in case.ends:
        return {"refused"} if case.address in NODES.values() else {"dropped"}
    return set(case.ends)


def test_connections_end_where_the_text_says(world_or_tables: World, outside: None) -> None:
    async def test(w: World) -> None:
        await w.put(*objects())
        different = {}
        for case in (case for mode, case in BY_MODE if mode == w.mode):
            seen, wanted = measured(w.fabric, case), expected(case)
            if case.source in NODES:  # a node has many addresses of its own: whether it is translated does not show
                seen, wanted = ({end.split()[0] for end in ends} for ends in (seen, wanted))
            if seen != wanted:
                different[case.what] = (seen, wanted)
        assert different == {}

    run(world_or_tables, test)
