"""What truth tables don't show: closed until ready, no foreign address, cut flows, and nothing left over."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import time

import pytest

from minik8s_net.kernel import ipset
from minik8s_net.observe.reach import Place, reach
from minik8s_net.policy import apply, entry
from minik8s_net.policy.render import CUT_MARK, base_chains
from minik8s_net.policy.sets import PODS
from minik8s_net.policy.table import steps

from .objects import namespace, pod, policy
from .world import World

pytestmark = pytest.mark.netns


def two(world: World, *nodes: str) -> None:
    """default/a and default/b, ready and listening on 80."""
    world.put(namespace("default"))
    for name, node in zip("ab", nodes, strict=True):
        key = f"default/{name}"
        world.ready(pod(key, world.wire(key, node), node))
        world.listen(key, 80)


def measured(world: World, source: str, target: str, protocol: str = "TCP", patient: bool = False) -> str:
    """Asked once more if nothing came: where ARP was refused a moment ago, the kernel asks again only after 1 s."""
    found = [
        reach([world.place(source)], [world.place(target)], 80, protocol, timeout=t).cells[0].measured
        for t in (0.2, 1.3 if patient else 0)
        if t
    ]
    return found[0] if found[0] != "dropped" else found[-1]


def stream(world: World, source: str, target: str) -> tuple[socket.socket, socket.socket]:
    """An established connection: (client, server)."""
    with world.pods[target].call(socket.create_server, ("0.0.0.0", 7000)) as server:
        client = world.pods[source].call(socket.create_connection, (world.ips[target], 7000), 2)
        accepted = server.accept()[0]
    return client, accepted


def heard(sender: socket.socket, receiver: socket.socket, within: float = 3) -> bool:
    """`within` seconds: what must come may be late on a busy machine; for what must not come, see `cut`."""
    sender.send(b"x")
    receiver.settimeout(within)
    try:
        return bool(receiver.recv(100))
    except TimeoutError:
        return False


def cut(sender: socket.socket, receiver: socket.socket) -> bool:
    return not heard(sender, receiver, 0.2)


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_pod_is_closed_until_it_is_ready(world: World, node: str) -> None:
    two(world, "node-1", "node-1")
    ip = world.wire("default/new", node)
    world.listen("default/new", 80)
    for protocol in ("TCP", "UDP"):
        assert measured(world, "default/a", "default/new", protocol) == "dropped"
        assert measured(world, "default/new", "default/a", protocol) == "dropped"
    world.ready(pod("default/new", ip, node))
    for protocol in ("TCP", "UDP"):
        assert measured(world, "default/a", "default/new", protocol, patient=True) == "open"
        assert measured(world, "default/new", "default/a", protocol, patient=True) == "open"


def test_no_pod_speaks_with_anothers_address(world: World) -> None:
    two(world, "node-1", "node-1")
    stolen = "10.244.1.200"
    key = "default/thief"
    world.ready(pod(key, world.wire(key, "node-1"), "node-1"))
    world.put(pod("default/victim", stolen, "node-1"))  # a known pod whose address the thief takes

    def as_victim(target: str) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((stolen, 0))
            probe.settimeout(0.2)
            probe.sendto(b"?", (target, 80))
            try:
                return bool(probe.recv(10))
            except TimeoutError:
                return False

    thief, node = world.pods[key], world.nodes["node-1"]
    thief.call(subprocess.run, ["ip", "addr", "add", f"{stolen}/24", "dev", "eth0"], check=True)
    assert not thief.call(as_victim, world.ips["default/a"])
    # the same packet passes once the bridge believes the address is that port's: the entry table was what stopped it
    port = world.enforcers["node-1"]._port_name(world.ips[key])
    node.call(apply.nft.run, entry.change("add", {stolen: port}))
    assert any(thief.call(as_victim, world.ips["default/a"]) for _ in range(8))  # ARP is asked again after 1 s


def test_a_node_reaches_its_own_pods_only(world: World) -> None:
    two(world, "node-1", "node-2")
    world.put(policy("default/deny"))
    nodes = [Place(n, "", ns) for n, ns in world.nodes.items()]
    found = reach(nodes, [world.place("default/a"), world.place("default/b")], 80, timeout=0.2)
    reached = {(c.source, c.target) for c in found.cells if c.reached}
    assert reached == {("node-1", "default/a"), ("node-2", "default/b")}


def test_egress_to_the_own_node_is_policed(world: World) -> None:
    two(world, "node-1", "node-1")
    gateway = Place("node", "10.244.1.1")
    assert reach([world.place("default/a")], [gateway], 80, timeout=0.2).cells[0].measured == "refused"
    world.put(policy("default/deny", types=["Egress"]))
    assert reach([world.place("default/a")], [gateway], 80, timeout=0.2).cells[0].measured == "dropped"


def test_policy_is_judged_after_service_translation_and_hairpins_pass(world: World) -> None:
    two(world, "node-1", "node-1")
    dnat = f"-t nat -A PREROUTING -d 10.96.0.50 -p tcp --dport 8000 -j DNAT --to {world.ips['default/b']}:80"
    for rule in (
        dnat,
        f"-t nat -A POSTROUTING -s {world.ips['default/b']} -d {world.ips['default/b']} -j MASQUERADE",
    ):
        world.nodes["node-1"].call(subprocess.run, ["iptables", *rule.split()], check=True)
    service = Place("service", "10.96.0.50")
    both = [world.place("default/a"), world.place("default/b")]

    def ask() -> list[str]:
        return [c.measured for c in reach(both, [service], 8000, timeout=0.2).cells]

    assert ask() == ["open", "open"]
    only_80 = policy("default/p", types=["Egress"], egress=[{"ports": [{"port": 80}]}])
    world.put(only_80)  # the Service's own port 8000 is not what is judged
    assert ask() == ["open", "open"]
    world.put(policy("default/p", types=["Ingress", "Egress"]))
    assert ask() == ["dropped", "open"]


@pytest.mark.parametrize("nodes", [("node-1", "node-1"), ("node-1", "node-2")])
@pytest.mark.parametrize("types", ["Ingress", "Egress"])
def test_an_established_stream_is_cut_and_comes_back(world: World, nodes: tuple[str, str], types: str) -> None:
    two(world, *nodes)
    client, server = stream(world, "default/a", "default/b")
    with client, server:
        assert heard(client, server) and heard(server, client)
        victim = {"matchLabels": {"pod": "b" if types == "Ingress" else "a"}}
        deny = policy("default/deny", victim, types=[types])
        world.put(deny)
        assert cut(client, server)
        assert cut(server, client)
        world.drop(deny)
        server.settimeout(4)  # TCP sends again, at growing intervals
        assert server.recv(100)


def test_a_policy_cuts_only_what_it_forbids(world: World) -> None:
    two(world, "node-1", "node-2")
    client, server = stream(world, "default/a", "default/b")
    with client, server:
        world.put(policy("default/p", ingress=[{"ports": [{"port": 7000}]}]))
        assert heard(client, server) and heard(server, client)
        marks = [f.mark & CUT_MARK for f in world.nodes["node-2"].call(apply_flows, world.ips["default/b"])]
        assert marks == [0]


def apply_flows(ip: str) -> list:  # type: ignore[type-arg]
    from minik8s_net.kernel import ctmark

    return [f for f in ctmark.flows({ip}) if f.port == 7000]


def test_a_datagram_stream_is_cut_though_the_server_keeps_sending(world: World) -> None:
    two(world, "node-1", "node-1")
    with (
        world.pods["default/b"].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as server,
        world.pods["default/a"].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("0.0.0.0", 7001))
        client.connect((world.ips["default/b"], 7001))
        server.settimeout(3)
        client.send(b"hello")
        address = server.recvfrom(10)[1]
        server.connect(address)
        assert heard(server, client)
        world.put(policy("default/deny", {"matchLabels": {"pod": "b"}}))
        for _ in range(5):
            assert cut(server, client)
            assert cut(client, server)


def test_labels_of_pods_and_namespaces_are_followed(world: World) -> None:
    two(world, "node-1", "node-2")
    allow = {
        "podSelector": {"matchLabels": {"may": "yes"}},
        "namespaceSelector": {"matchLabels": {"open": "yes"}},
    }
    world.put(policy("default/p", {"matchLabels": {"pod": "b"}}, ingress=[{"from": [allow]}]))
    assert measured(world, "default/a", "default/b") == "dropped"
    world.put(pod("default/a", world.ips["default/a"], "node-1", {"may": "yes"}))
    assert measured(world, "default/a", "default/b") == "dropped"
    world.put(namespace("default", open="yes"))
    assert measured(world, "default/a", "default/b") == "open"
    world.put(namespace("default", open="no"))
    assert measured(world, "default/a", "default/b") == "dropped"


def test_an_address_given_to_another_pod_carries_nothing_over(world: World) -> None:
    two(world, "node-1", "node-2")
    only_a = {"from": [{"podSelector": {"matchLabels": {"pod": "a"}}}]}
    world.put(policy("default/p", {"matchLabels": {"pod": "b"}}, ingress=[only_a]))
    client, server = stream(world, "default/a", "default/b")
    with client, server:
        old = pod("default/a", world.ips["default/a"], "node-1")
        heir = pod("default/heir", world.ips["default/a"], "node-1", {"pod": "heir"})
        world.objects.put(heir)  # the address is leased again before the old object is gone
        world.drop(old)
        assert cut(client, server)
        world.ips["default/heir"], world.pods["default/heir"] = (
            world.ips["default/a"],
            world.pods["default/a"],
        )
        assert measured(world, "default/heir", "default/b") == "dropped"
        del world.pods["default/heir"]


def test_ready_knows_a_pod_that_has_gone(world: World) -> None:
    two(world, "node-1", "node-2")
    gone = pod("default/a", world.ips["default/a"], "node-1")
    world.drop(gone)
    with pytest.raises(LookupError, match="default/a"):
        world.run(world.enforcers["node-1"].ready(gone))


def kernel(world: World, node: str = "node-1") -> apply.Table:
    return world.nodes[node].call(apply.read)


def test_what_is_written_reads_back_the_same_so_a_restart_writes_nothing(nine: World) -> None:
    peers = [
        {"podSelector": {"matchLabels": {"pod": "b"}}},
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
    ]
    ports = [
        {"port": 80},
        {"port": 80, "endPort": 90, "protocol": "UDP"},
        {"port": "swap"},
        {"protocol": "SCTP", "port": 5},
    ]
    chosen = policy("x/p", ingress=[{"from": peers, "ports": ports}, {}], egress=[{"to": peers, "ports": ports}])
    nine.put(chosen)
    try:
        for name, enforcer in nine.enforcers.items():
            assert enforcer._written is not None
            todo = steps(kernel(nine, name), enforcer._written)
            assert todo == type(todo)()
    finally:
        nine.drop(chosen)


def test_resync_heals(world: World) -> None:
    two(world, "node-1", "node-1")
    rule = {"from": [{"podSelector": {}}], "ports": [{"port": 1}]}
    world.put(policy("default/p", {"matchLabels": {"pod": "b"}}, ingress=[rule]))
    whole, node = kernel(world), world.nodes["node-1"]
    for damage in (
        lambda: subprocess.run(["iptables", "-F"], check=True),
        lambda: [ipset.change(name, remove=c.members) for name, c in whole.sets.items()],
        lambda: ipset.change(PODS, remove=list(whole.pods)),
        lambda: apply.nft.run(f"delete table bridge {entry.TABLE}"),
    ):
        node.call(damage)
        world.run(world.enforcers["node-1"].resync())
        assert kernel(world) == whole
        assert measured(world, "default/a", "default/b") == "dropped"
        assert measured(world, "default/b", "default/a") == "open"


def test_remove_leaves_nothing(world: World) -> None:
    two(world, "node-1", "node-1")
    world.put(policy("default/p", ingress=[{"from": [{"podSelector": {}}]}]))
    world.run(world.enforcers["node-1"].remove())
    node = world.nodes["node-1"]
    assert node.call(ipset.names) == []
    assert "KUBE" not in node.call(apply.iptables.save, "filter")
    assert node.call(apply.nft.list_table, f"bridge {entry.TABLE}") == ""


def test_random_changes_leave_the_kernel_as_if_it_were_made_at_once(world: World) -> None:
    two(world, "node-1", "node-2")
    chance = random.Random(5)
    choices = [{}, {"matchLabels": {"pod": "a"}}, {"matchLabels": {"pod": "b"}}, {"matchLabels": {"v": "1"}}]
    for _ in range(60):
        name = f"default/p{chance.randrange(4)}"
        existing = [p for p in world.objects.objects.values() if f"default/{p.metadata.name}" == name]
        match chance.randrange(3):
            case 0 if existing:
                world.objects.drop(*existing)
            case 1:
                key = chance.choice(("default/a", "default/b"))
                node = "node-1" if key == "default/a" else "node-2"
                world.objects.put(pod(key, world.ips[key], node, {"pod": key[-1], "v": chance.choice("12")}))
            case _:
                peer = {"podSelector": chance.choice(choices)}
                port = {"port": chance.choice((80, "http"))}
                spec = {"ingress": [{"from": [peer]}], "egress": [{"to": [peer], "ports": [port]}]}
                world.objects.put(policy(name, chance.choice(choices), **spec))
        if chance.random() < 0.5:
            world.settle()
    world.settle()
    for node, enforcer in world.enforcers.items():
        assert enforcer._written is not None
        assert kernel(world, node).sets == enforcer._written.sets
        assert set(kernel(world, node).chains) == set(enforcer._written.chains)
    world.drop(*[o for (kind, _, _), o in world.objects.objects.items() if kind.__name__ == "NetworkPolicy"])
    for node in world.nodes:
        left = kernel(world, node)
        assert left.chains == base_chains(f"10.244.{node[-1]}.0/24") and not left.sets


def test_a_forbidden_connection_ends_with_its_change(world: World) -> None:
    """Constant traffic and changes: nothing forbidden passes 200 ms after a change."""
    two(world, "node-1", "node-2")
    deny = policy("default/deny", {"matchLabels": {"pod": "b"}})
    for _ in range(20):
        began = time.monotonic()
        world.put(deny)
        assert time.monotonic() - began < 0.2
        assert not reach([world.place("default/a")], [world.place("default/b")], 80, timeout=0.1).cells[0].reached
        world.drop(deny)
        assert reach([world.place("default/a")], [world.place("default/b")], 80, timeout=0.5).cells[0].reached


def test_many_flows_do_not_hold_up_the_next_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the flows of one change are still being judged, the rules of the next are in already."""
    two(world, "node-1", "node-1")
    enforcer, deny = world.enforcers["node-1"], policy("default/deny", {"matchLabels": {"pod": "b"}})
    judge, go_on = enforcer._flows.check, asyncio.Event()

    async def slow(addresses: set[str], *, all_of_them: bool = False) -> None:
        await go_on.wait()
        await judge(addresses, all_of_them=all_of_them)

    monkeypatch.setattr(enforcer._flows, "check", slow)

    async def two_changes() -> None:
        world.objects.put(policy("default/other", {"matchLabels": {"pod": "a"}}, ingress=[{}]))
        await asyncio.sleep(0.2)
        world.objects.put(deny)
        await asyncio.sleep(0.3)
        assert enforcer._done < enforcer._wanted

    world.run(two_changes())
    assert measured(world, "default/a", "default/b") == "dropped"
    go_on.set()
    world.settle()


def test_a_set_that_somebody_else_matches_waits_and_hinders_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minik8s_net.policy.enforcer.TIDY_AGAIN", 0.1)
    two(world, "node-1", "node-1")
    allow = policy("default/p", ingress=[{"from": [{"podSelector": {}}]}])
    world.put(allow)
    node = world.nodes["node-1"]
    (name,) = [n for n in node.call(ipset.names) if n != PODS]
    foreign = f"INPUT -m set --match-set {name} src -j RETURN"
    node.call(subprocess.run, ["iptables", "-A", *foreign.split()], check=True)
    world.drop(allow)
    world.run(asyncio.sleep(0.3))  # the destruction is tried, and refused
    world.ready(pod("default/late", world.wire("default/late", "node-1"), "node-1"))  # goes on as ever
    assert name in node.call(ipset.names)
    node.call(subprocess.run, ["iptables", "-D", *foreign.split()], check=True)
    for _ in range(100):
        world.run(asyncio.sleep(0.05))
        if name not in node.call(ipset.names):
            break
    assert name not in node.call(ipset.names)


def test_synced_waits_for_a_failing_turn(world: World) -> None:
    """A write that fails is tried again, from what the kernel really holds."""
    two(world, "node-1", "node-1")
    node = world.nodes["node-1"]
    node.call(subprocess.run, ["ipset", "create", "KUBE-NETS-OTHER", "hash:net"], check=True)
    node.call(apply.iptables.restore, "*filter\n-A FORWARD -m set --match-set KUBE-NETS-OTHER src\nCOMMIT\n")
    enforcer = world.enforcers["node-1"]

    async def fails_then_heals() -> None:
        waiting = asyncio.ensure_future(enforcer.resync())  # cannot destroy a set in use
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await node.run(apply.iptables.restore, "*filter\n-D FORWARD -m set --match-set KUBE-NETS-OTHER src\nCOMMIT\n")
        await asyncio.wait_for(waiting, 2)

    world.run(fails_then_heals())
    assert node.call(ipset.names) == [PODS]
