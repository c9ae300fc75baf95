"""More Services than one nftables table takes, in real namespaces: three to a table here, not a thousand."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from minik8s_net.config import ClusterConfig
from minik8s_net.healing.rules import service_drift
from minik8s_net.kernel import nft, nftnl
from minik8s_net.kernel.netns import Netns
from minik8s_net.observe.rules.search import of_proxy
from minik8s_net.proxy import nftables, nfttables
from minik8s_net.proxy.backend import backend
from minik8s_net.proxy.pieces import pieces
from minik8s_net.proxy.proxier import Proxier
from minik8s_net.proxy.rules import Difference, Rules

from .cases import ON_A, ON_B, A, B, C
from .objects import Objects, service, slice_of
from .test_load import table_ports
from .test_tables import NODE
from .wiring import Fabric, ask
from .world import World, ruleset, run

pytestmark = pytest.mark.netns
ROOM = 3
ALL = range(1, 9)


@pytest.fixture
def crowded(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(nfttables, "SERVICES", ROOM)
    return World(fabric, "nftables")


def objects(*numbers: int) -> list[Any]:
    """The even ones at B, the odd ones at A; all with a node port, two with more."""
    more: dict[int, dict[str, Any]] = {
        4: {"sessionAffinity": "ClientIP"},
        8: {"externalTrafficPolicy": "Local", "externalIPs": ["172.18.99.8"]},
    }
    return [
        each
        for n in numbers
        for each in (
            service(f"s{n}", f"10.96.3.{n}", ("http", "TCP", 80, 30200 + n), type="NodePort", **more.get(n, {})),
            slice_of(f"s{n}", ON_A if n % 2 else ON_B),
        )
    ]


def everybody_is_reached(w: World, *numbers: int) -> None:
    for n in numbers:
        end = A if n % 2 else B
        assert ask(w.fabric.pods[C], f"10.96.3.{n}", 80) == (end, C), n
        assert ask(w.fabric.nodes["node-1"], f"10.96.3.{n}", 80)[0] == end, n
        assert ask(w.fabric.outside, f"172.18.1.{2 - n % 2}", 30200 + n)[0] == end, n  # its own node's: for "Local"


def tables(w: World) -> list[str]:
    return [t for t in w.fabric.nodes["node-1"].call(nftnl.tables) if t.startswith("kube-proxy")]


def nft_on_node(w: World, *words: str) -> None:
    w.fabric.nodes["node-1"].call(subprocess.run, ["nft", *words], check=True)


def listed(where: Netns) -> list[str]:
    """With the handles: what was written anew has others."""
    done = where.call(subprocess.run, ["nft", "-a", "list", "ruleset"], capture_output=True, text=True, check=True)
    return sorted(done.stdout.splitlines())


def test_services_of_every_table_are_reached_and_the_tables_come_and_go(crowded: World) -> None:
    async def test(w: World) -> None:
        await w.put(*objects(1, 2, 3))
        assert tables(w) == ["kube-proxy"]
        for n in range(4, 9):  # one by one: a new table comes with the Service that needs it
            await w.put(*objects(n))
        assert tables(w) == ["kube-proxy", "kube-proxy-2", "kube-proxy-3"]
        everybody_is_reached(w, *ALL)
        for proxier in w.proxiers:
            assert await proxier.differences() == {}
        with pytest.raises(ConnectionRefusedError):  # a port that no Service has, and one of a further table's address
            ask(w.fabric.pods[C], "10.96.3.7", 81)
        w.objects.drop(EndpointSlice, "s7-1")
        await w.settle()
        with pytest.raises(ConnectionRefusedError):
            ask(w.fabric.pods[C], "10.96.3.7", 80)
        for n in (4, 5, 6):
            w.objects.drop(Service, f"s{n}")
        await w.settle()
        assert tables(w) == ["kube-proxy", "kube-proxy-3"]
        everybody_is_reached(w, 1, 2, 3, 8)
        await w.put(slice_of("s7", ON_A), *objects(4))  # where there is room, and that table is made again
        assert tables(w) == ["kube-proxy", "kube-proxy-3", "kube-proxy-2"]
        everybody_is_reached(w, 1, 2, 3, 4, 7, 8)
        assert await w.proxiers[0].differences() == {}

    run(crowded, test)
    assert tables(crowded) == []


BREAKS = {
    "a table": [("delete", "table", "ip", "kube-proxy-2")],
    "its heart": [("flush", "chain", "ip", "kube-proxy-2", "services")],
    "a hook": [("flush", "chain", "ip", "kube-proxy-3", "nat-prerouting")],
    "an element": [("delete", "element", "ip", "kube-proxy-2", "service-ips", "{ 10.96.3.5 . tcp . 80 }")],
    "node ports": [("flush", "set", "ip", "kube-proxy-2", "nodeport-ips")],
    "one too many": [
        ("add", "chain", "ip", "kube-proxy-2", "mine"),
        ("add", "element", "ip", "kube-proxy-2", "service-ips", "{ 10.96.3.1 . tcp . 81 : goto mine }"),
    ],
    "the first table": [("delete", "table", "ip", "kube-proxy")],
    "all tables": [("flush", "ruleset")],
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_in_a_further_table_is_found_and_put_back(crowded: World, broken: str) -> None:
    async def test(w: World) -> None:
        await w.put(*objects(*ALL))
        before, proxier = sorted(ruleset(w, "node-1").splitlines()), w.proxiers[0]
        for words in BREAKS[broken]:
            nft_on_node(w, *words)
        found = await proxier.differences()
        said = " ".join(service_drift("node-1", part, d).found for part, d in found.items())
        assert found and ("kube-proxy-" in said or "first" in broken), said
        await proxier.mend(found.values())
        assert _plain(ruleset(w, "node-1").splitlines()) == _plain(before)
        assert await proxier.differences() == {}
        everybody_is_reached(w, *ALL)

    run(crowded, test)


def _plain(lines: list[str]) -> list[str]:
    return sorted(word for line in lines for word in line.replace(",", " ").split())


def test_a_restarted_proxier_adopts_every_table_as_it_is(crowded: World) -> None:
    async def test(w: World) -> None:
        await w.put(*objects(*ALL))
        w.objects.drop(Service, "s2")  # there is room in the first table now: nobody may move into it
        await w.settle()
        node = w.fabric.nodes["node-1"]
        before = listed(node)
        again = Objects()
        again.put(*objects(8, 7, 6, 5, 4, 3, 1))
        proxier = Proxier(ClusterConfig(), "node-1", "172.18.1.1", again, node, "nftables")  # type: ignore[arg-type]
        task = asyncio.create_task(proxier.run())
        await asyncio.wait_for(proxier.synced(), 10)
        assert listed(node) == before
        again.drop(Service, "s7")
        again.drop(Service, "s8")
        again.put(*objects(9))
        await asyncio.wait_for(proxier.settle(), 10)
        assert tables(w) == ["kube-proxy", "kube-proxy-2"]
        everybody_is_reached(w, 1, 3, 4, 5, 6, 9)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(crowded, test)


def test_a_stopped_proxier_tells_what_it_lacks_and_catches_up(crowded: World) -> None:
    async def test(w: World) -> None:
        await w.put(*objects(1, 2, 3, 4, 5, 6))
        proxier = w.proxiers[0]
        await proxier.halt()
        w.objects.drop(Service, "s1")
        w.objects.put(*objects(7, 8))
        found = await proxier.differences()  # asked, it already knows where they would be: but nothing is there
        assert {"default/s7", "default/s8"} <= found.keys() and tables(w) == ["kube-proxy", "kube-proxy-2"]
        proxier.go_on()
        await w.settle()
        assert await proxier.differences() == {}
        assert tables(w) == ["kube-proxy", "kube-proxy-2", "kube-proxy-3"]
        everybody_is_reached(w, 2, 3, 4, 5, 6, 7, 8)

    run(crowded, test)


def test_the_other_mode_takes_out_further_tables_even_without_the_first(crowded: World) -> None:
    async def test(w: World) -> None:
        await w.put(*objects(*ALL))
        nft_on_node(w, "delete", "table", "ip", "kube-proxy")
        other = World(w.fabric, "iptables")
        async with other.running():
            assert tables(w) == []

    run(crowded, test)


def test_a_rule_is_explained_where_it_is(crowded: World) -> None:
    async def test(w: World) -> None:
        await w.put(*objects(*ALL))
        there = list(of_proxy("node-1", w.proxiers[0]))
        (jump,) = (each for each in there if each.key == "10.96.3.5 . tcp . 80")
        assert (jump.place, jump.chain, jump.part) == ("map kube-proxy-2 service-ips", "service-ips", "default/s5")
        endpoints = {each.place.split()[1] for each in there if each.part == "default/s8" and "dnat" in each.rule}
        assert endpoints == {"kube-proxy-3"}
        assert {each.place for each in there if each.chain == "services"} == {
            "chain services", "chain kube-proxy-2 services", "chain kube-proxy-3 services",
        }  # fmt: skip

    run(crowded, test)


def test_our_messages_make_the_same_tables_as_nft_makes_of_the_text() -> None:
    ports = {f"{p.namespace}/{p.service}": [] for p in table_ports()}
    for each in table_ports():
        ports[f"{each.namespace}/{each.service}"].append(each)
    kernel, placing = backend("nftables"), nfttables.Tables(2)
    kernel._tables = nfttables.Tables(2)  # type: ignore[attr-defined]
    ours, theirs = Netns.anonymous("ours"), Netns.anonymous("theirs")
    ours.call(kernel.write, [kernel.delta(Rules(), kernel.base(NODE))])
    for name, of in ports.items():
        before = kernel.base(NODE)
        rules = kernel.placed({name: kernel.render(of, NODE)})
        ours.call(kernel.write, [kernel.delta(before, kernel.base(NODE)), kernel.delta(Rules(), rules[name])])
    placed = placing.placed({name: nftables.render(of, NODE) for name, of in ports.items()})
    whole = (nftables.base(NODE, placing.further), *placed.values())
    changes = [Difference.between(Rules(), want) for want in whole]
    for piece in pieces(changes, 40):  # as an ordinary user's: smaller than all tables' beginnings
        theirs.call(nft.run, nftables.script(piece))
    assert len(ours.call(nftnl.tables)) == len(theirs.call(nftnl.tables)) > 3
    for table in theirs.call(nftnl.tables):
        one, other = (_plain(where.call(nft.list_table, f"ip {table}").splitlines()) for where in (ours, theirs))
        assert one == other, table
    kernel.close()
    for where in (ours, theirs):
        where.close()
