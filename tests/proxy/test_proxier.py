"""Services in real namespaces, with real sockets: the same tests in both modes."""

from __future__ import annotations

import asyncio
import math
import subprocess
import time
from typing import Any

import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from minik8s_net.config import ClusterConfig
from minik8s_net.proxy.announce import ANNOUNCED_BY
from minik8s_net.proxy.proxier import Proxier

from .cases import ON_A, ON_B, ON_C, A, B, C
from .objects import Objects, service, slice_of
from .wiring import ask, ask_udp, open_connection, spread
from .world import World, ruleset, run

pytestmark = pytest.mark.netns
VIP = "10.96.1.1"


def test_pod_reaches_cluster_ip_with_its_own_address_evenly(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", ON_A, ON_B, ON_C))
        n, p = 1000, 1 / 3
        for _ in range(3):  # one round in a hundred is beyond three sigma by chance
            seen = spread(w.fabric.pods[A], VIP, 80, n)
            if even := all(abs(seen[pod] - n * p) < 3 * math.sqrt(n * p * (1 - p)) for pod in (A, B, C)):
                break
        assert even, seen
        for _ in range(20):
            server, source = ask(w.fabric.pods[C], VIP, 80)
            assert source == ("10.244.1.1" if server == C else C)  # only the hairpin is masqueraded

    run(world, test)


def test_refused_at_once_without_endpoints_and_served_once_there_are(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP, ("http", "TCP", 80, 30080), type="NodePort"))
        for where, address, port in (
            (w.fabric.pods[A], VIP, 80),
            (w.fabric.nodes["node-1"], VIP, 80),
            (w.fabric.outside, "172.18.1.1", 30080),
        ):
            begin = time.monotonic()
            with pytest.raises(ConnectionRefusedError):
                ask(where, address, port)
            assert time.monotonic() - begin < 0.2
        await w.put(slice_of("web", ON_B))
        assert ask(w.fabric.pods[A], VIP, 80)[0] == B
        await w.put(slice_of("web", (B, "node-2", "notready")))
        with pytest.raises(ConnectionRefusedError):
            ask(w.fabric.pods[A], VIP, 80)

    run(world, test)


def test_node_port_answers_on_all_nodes_masqueraded(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP, ("http", "TCP", 80, 30080), type="NodePort"), slice_of("web", ON_B))
        assert ask(w.fabric.outside, "172.18.1.1", 30080) == (B, "172.18.1.1")
        assert ask(w.fabric.outside, "172.18.1.2", 30080)[0] == B
        assert ask(w.fabric.nodes["node-1"], VIP, 80) == (B, "172.18.1.1")
        if w.mode == "iptables":  # kube-proxy's nftables mode has no node ports on localhost
            assert ask(w.fabric.nodes["node-1"], "127.0.0.1", 30080)[0] == B
        await w.put(service("web", VIP))  # back to ClusterIP
        with pytest.raises(ConnectionRefusedError):
            ask(w.fabric.outside, "172.18.1.1", 30080)

    run(world, test)


def test_external_policy_local_keeps_the_client_and_drops_elsewhere(world: World) -> None:
    async def test(w: World) -> None:
        svc = service("web", VIP, ("http", "TCP", 80, 30085), type="NodePort", externalTrafficPolicy="Local")
        await w.put(svc, slice_of("web", ON_A))
        assert ask(w.fabric.outside, "172.18.1.1", 30085) == (A, "172.18.0.2")
        with pytest.raises(TimeoutError):
            ask(w.fabric.outside, "172.18.1.2", 30085, timeout=0.3)
        assert ask(w.fabric.pods[B], "172.18.1.2", 30085)[0] == A  # pods are short-circuited to any endpoint

    run(world, test)


def test_internal_policy_local(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP, internalTrafficPolicy="Local"), slice_of("web", ON_A, ON_C))
        assert set(spread(w.fabric.pods[A], VIP, 80, 20)) == {A, C}
        with pytest.raises(TimeoutError):
            ask(w.fabric.pods[B], VIP, 80, timeout=0.3)

    run(world, test)


def test_terminating_endpoints_serve_when_nobody_else_does(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", (A, "node-1", "terminating"), ON_B))
        assert set(spread(w.fabric.pods[C], VIP, 80, 10)) == {B}
        await w.put(slice_of("web", (A, "node-1", "terminating")))
        assert set(spread(w.fabric.pods[C], VIP, 80, 10)) == {A}

    run(world, test)


def test_affinity_sticks_and_expires(world: World) -> None:
    async def test(w: World) -> None:
        config = {"clientIP": {"timeoutSeconds": 1}}
        svc = service("web", VIP, sessionAffinity="ClientIP", sessionAffinityConfig=config)
        await w.put(svc, slice_of("web", ON_A, ON_B, ON_C))
        assert len(spread(w.fabric.pods[A], VIP, 80, 20)) == 1
        seen = set()
        for _ in range(12):
            seen.add(ask(w.fabric.pods[A], VIP, 80)[0])
            if len(seen) > 1:
                break
            await asyncio.sleep(1.3)
        assert len(seen) > 1

    run(world, test)


def test_established_connections_survive_changes(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", ON_A, ON_B))
        with open_connection(w.fabric.pods[C], VIP, 80) as client:
            client.recv(100)
            await w.put(slice_of("web", ON_A, ON_B, ON_C))
            await w.put(service("other", "10.96.1.2"))
            client.sendall(b"still there?")
            assert client.recv(100) == b"still there?"

    run(world, test)


def test_udp_moves_to_a_living_endpoint_and_leaves_no_conntrack_entry(world: World) -> None:
    async def test(w: World) -> None:
        def to(*endpoints: Any) -> EndpointSlice:
            return slice_of("dns", *endpoints, dns=5353, protocol="UDP")

        await w.put(service("dns", VIP, ("dns", "UDP", 53)), to(ON_A))
        assert ask_udp(w.fabric.pods[C], VIP, 53, 4000)[0] == A
        await w.put(to(ON_B))  # the same client socket address: conntrack would still say A
        assert ask_udp(w.fabric.pods[C], VIP, 53, 4000)[0] == B
        w.objects.drop(Service, "dns")
        w.objects.drop(EndpointSlice, "dns-1")
        await w.settle()
        command = ["conntrack", "-L", "-p", "udp", "--orig-dst", VIP]
        listed = w.fabric.nodes["node-1"].call(subprocess.run, command, capture_output=True, text=True, check=True)
        assert listed.stdout == ""

    run(world, test)


def test_load_balancer_address_is_announced_and_source_ranges_hold(world: World) -> None:
    async def test(w: World) -> None:
        def lb(node: str, *ranges: str) -> Service:
            return service(
                "lb",
                VIP,
                ("http", "TCP", 80, 30090),
                type="LoadBalancer",
                loadBalancerSourceRanges=list(ranges),
                annotations={ANNOUNCED_BY: node},
                status={"loadBalancer": {"ingress": [{"ip": "172.18.200.1"}]}},
            )

        await w.put(lb("node-1"), slice_of("lb", ON_B))
        assert ask(w.fabric.outside, "172.18.200.1", 80) == (B, "172.18.1.1")
        await w.put(lb("node-2"))
        assert ask(w.fabric.outside, "172.18.200.1", 80) == (B, "10.244.2.1")
        await w.put(lb("node-2", "203.0.113.0/24"))
        with pytest.raises(TimeoutError):
            ask(w.fabric.outside, "172.18.200.1", 80, timeout=0.3)
        await w.put(lb("node-2", "203.0.113.0/24", "172.18.0.2/32"))
        assert ask(w.fabric.outside, "172.18.200.1", 80)[0] == B

    run(world, test)


def test_health_check_port_counts_local_endpoints(world: World) -> None:
    async def test(w: World) -> None:
        local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30999}
        await w.put(service("lb", VIP, ("http", "TCP", 80, 30090), **local), slice_of("lb", ON_A, ON_C))

        def get(node: str) -> str:
            with open_connection(w.fabric.outside, node, 30999) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                return client.makefile().read()

        answer = await asyncio.to_thread(get, "172.18.1.1")
        assert answer.startswith("HTTP/1.1 200 OK") and '"localEndpoints": 2' in answer
        assert (await asyncio.to_thread(get, "172.18.1.2")).startswith("HTTP/1.1 503")

    run(world, test)


def test_resync_mends_what_was_broken_and_touches_nothing_else(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", ON_A, ON_B))
        node, proxier = w.fabric.nodes["node-1"], w.proxiers[0]
        assert not await proxier.resync()  # nothing to do: what we render is what the kernel prints
        before = ruleset(w, "node-1")
        broken = {
            "iptables": ["iptables", "-t", "nat", "-F"],
            "nftables": ["nft", "flush", "chain", "ip", "kube-proxy", "services"],
        }[w.mode]
        node.call(subprocess.run, broken, check=True)
        with pytest.raises(OSError):
            ask(w.fabric.pods[A], VIP, 80, timeout=0.3)
        assert await proxier.resync()
        assert sorted(map(_plain, ruleset(w, "node-1").splitlines())) == sorted(map(_plain, before.splitlines()))
        assert ask(w.fabric.pods[A], VIP, 80)[0] in (A, B)

    run(world, test)


def test_every_chain_that_serves_all_is_mended(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", ON_A, ON_B))
        node, proxier = w.fabric.nodes["node-1"], w.proxiers[0]
        before = sorted(map(_plain, ruleset(w, "node-1").splitlines()))
        for table, chain in proxier.parts()["base"].chains:
            ours = ["nft", "flush", "chain", "ip", "kube-proxy", chain]
            if w.mode == "iptables" or table == "chain":
                flush = ["iptables", "-t", table, "-F", chain] if w.mode == "iptables" else ours
                node.call(subprocess.run, flush, check=True)
                await proxier.resync()
                assert sorted(map(_plain, ruleset(w, "node-1").splitlines())) == before, chain

    run(world, test)


def _plain(line: str) -> str:
    return "#" if line.startswith(("#", ":")) else line.strip().rstrip(",")


def test_a_restarted_proxier_finds_its_rules_and_takes_out_what_went_meanwhile(world: World) -> None:
    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", ON_A), service("old", "10.96.1.9"), slice_of("old", ON_B))
        objects = Objects()
        objects.put(service("web", VIP), slice_of("web", ON_A))
        again = Proxier(ClusterConfig(), "node-1", "172.18.1.1", objects, w.fabric.nodes["node-1"], w.mode)  # type: ignore[arg-type]
        task = asyncio.create_task(again.run())
        await asyncio.wait_for(again.synced(), 10)
        text = ruleset(w, "node-1")
        assert "default/web" in text and "default/old" not in text
        assert not await again.resync()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(world, test)


def test_nothing_is_left_and_others_rules_stay(world: World) -> None:
    node = world.fabric.nodes["node-1"]
    node.call(subprocess.run, ["iptables", "-I", "FORWARD", "-s", "192.0.2.1", "-j", "DROP"], check=True)
    before = ruleset(world, "node-1")

    async def test(w: World) -> None:
        await w.put(service("web", VIP, ("http", "TCP", 80, 30080), type="NodePort"), slice_of("web", ON_A, ON_B))
        if w.mode == "iptables":
            lines = ruleset(w, "node-1").splitlines()
            assert next(i for i in lines if i.startswith("-A FORWARD")) == "-A FORWARD -s 192.0.2.1/32 -j DROP"

    run(world, test)
    left = [line for line in ruleset(world, "node-1").splitlines() if "KUBE" in line or "kube-proxy" in line]
    assert left == []
    if world.mode == "iptables":
        assert "-A FORWARD -s 192.0.2.1/32 -j DROP" in ruleset(world, "node-1")
    assert "192.0.2.1" in before
    node.call(subprocess.run, ["iptables", "-D", "FORWARD", "-s", "192.0.2.1", "-j", "DROP"], check=True)


def test_every_change_of_type_and_back(world: World) -> None:
    async def test(w: World) -> None:
        cluster_ip, node_port, balanced = (VIP, 80), ("172.18.1.1", 30070), ("172.18.200.9", 80)
        port = ("http", "TCP", 80, 30070)
        status = {"loadBalancer": {"ingress": [{"ip": "172.18.200.9"}]}}
        kinds = {
            "ClusterIP": (service("web", VIP), {cluster_ip}),
            "NodePort": (service("web", VIP, port, type="NodePort"), {cluster_ip, node_port}),
            "LoadBalancer": (
                service("web", VIP, port, type="LoadBalancer", status=status, annotations={ANNOUNCED_BY: "node-1"}),
                {cluster_ip, node_port, balanced},
            ),
            "ExternalName": (service("web", "", type="ExternalName", externalName="example.com"), set()),
            "headless": (service("web", "None"), set()),
        }
        await w.put(slice_of("web", ON_B))
        order = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "LoadBalancer", "NodePort", "ClusterIP"]
        for kind in (*order, "headless", "NodePort"):
            obj, reachable = kinds[kind]
            await w.put(obj)
            for address, number in (cluster_ip, node_port, balanced):
                where = w.fabric.outside if address != VIP else w.fabric.pods[A]
                try:
                    answered = ask(where, address, number, timeout=0.2)[0] == B
                except OSError:
                    answered = False
                assert answered == ((address, number) in reachable), (kind, address)

    run(world, test)


@pytest.mark.parametrize("affinity", ["None", "ClientIP"])
def test_a_node_port_moves_from_one_service_to_another(world: World, affinity: str) -> None:
    def node_port(name: str, ip: str, port: tuple[str, str, int, int], **spec: str) -> Service:
        return service(name, ip, port, type="NodePort", **spec)

    async def test(w: World) -> None:
        first, second = (("http", "TCP", 80, n) for n in (30071, 30072))
        await w.put(node_port("a", VIP, first), slice_of("a", ON_A))
        await w.put(node_port("b", "10.96.1.2", second, sessionAffinity=affinity), slice_of("b", ON_B))
        w.objects.put(node_port("b", "10.96.1.2", first, sessionAffinity=affinity), node_port("a", VIP, second))
        await w.settle()
        assert ask(w.fabric.outside, "172.18.1.1", 30071)[0] == B
        assert ask(w.fabric.outside, "172.18.1.1", 30072)[0] == A

    run(world, test)


def test_the_other_modes_rules_go_at_start(world: World) -> None:
    other = World(world.fabric, {"iptables": "nftables", "nftables": "iptables"}[world.mode])

    async def test(w: World) -> None:
        await w.put(service("web", VIP), slice_of("web", ON_A))
        assert ask(w.fabric.pods[C], VIP, 80)[0] == A
        async with other.running():  # as after a restart in another mode: nobody removed the first one's rules
            await other.put(service("web", VIP), slice_of("web", ON_B))
            assert not any("KUBE-" in ruleset(w, n) for n in w.fabric.nodes if w.mode == "iptables")
            assert not any("kube-proxy" in ruleset(w, n) for n in w.fabric.nodes if w.mode == "nftables")
            assert {ask(w.fabric.pods[C], VIP, 80)[0] for _ in range(10)} == {B}

    run(world, test)
