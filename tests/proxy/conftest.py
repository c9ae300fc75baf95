"""Two nodes with three pods, and proxiers on them in each mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minik8s_net.proxy import nfttables

from .wiring import Fabric
from .world import World


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    """Pods A, B and C of cases.py, each answering on TCP 8080 and UDP 5353."""
    fabric = Fabric()
    for node, host in ((1, 11), (2, 22), (1, 12)):
        address = fabric.pod(node, host)
        fabric.serve(address)
        fabric.serve(address, 5353, udp=True)
    yield fabric
    fabric.close()


@pytest.fixture(params=["iptables", "nftables"])
def world(fabric: Fabric, request: pytest.FixtureRequest) -> World:
    return World(fabric, request.param)


@pytest.fixture(params=["iptables", "nftables", "tables"])
def world_or_tables(fabric: Fabric, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """Also nftables with two Services to a table, not a thousand."""
    if request.param == "tables":
        monkeypatch.setattr(nfttables, "SERVICES", 2)
    return World(fabric, "iptables" if request.param == "iptables" else "nftables")
