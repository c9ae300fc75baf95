"""The trace's kernel side by itself, in namespaces made for the test: rings, rule events, held rules, look-ups."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from minik8s_net.kernel import lookup, nft, sockets
from minik8s_net.kernel.netns import Netns
from minik8s_net.kernel.nftrace import HeldRules, TraceEvents
from minik8s_net.kernel.packet_ring import PacketRing
from minik8s_net.kernel.tool import ToolError
from minik8s_net.observe import decode
from minik8s_net.observe.trace.filters import Flow, frame_filter, tracing_rules

pytestmark = pytest.mark.netns
HELD = "table ip held {\n flags owner\n chain c { type filter hook input priority 0; }\n}\n"


@pytest.fixture
def netns() -> Iterator[Netns]:
    made = Netns.anonymous("trace-test")
    made.call(_up)
    yield made
    made.close()


def _up() -> None:
    from minik8s_net.kernel import requests, rtnetlink
    from minik8s_net.kernel.netlink import Socket

    with Socket() as sock:
        sock.burst([requests.set_link(rtnetlink.Link("lo"), 1)])


def send(port: int = 9, count: int = 1, payload: bytes = b"hello") -> int:
    """Datagrams to ourselves; their source port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        for _ in range(count):
            sock.sendto(payload, ("127.0.0.1", port))
        return int(sock.getsockname()[1])


def test_a_ring_has_every_frame_in_both_directions_with_the_kernels_time(netns: Netns) -> None:
    ring = netns.call(PacketRing)
    before = time.time_ns()
    port = netns.call(send)
    frames = [f for f in ring.read() if decode.ethernet(f.data).sport == port]
    after = time.time_ns()
    assert [f.outgoing for f in frames] == [True, False]
    assert all(before < f.at_ns < after for f in frames)
    assert decode.ethernet(frames[0].data).payload == b"hello"
    assert (ring.read(), ring.lost()) == ([], 0)
    ring.close()


def test_a_ring_wraps_around_and_counts_what_it_lost(netns: Netns) -> None:
    ring = netns.call(lambda: PacketRing(frames=64))
    for _ in range(5):
        netns.call(send, count=10)  # nobody listens: each is answered by ICMP
        assert [decode.ethernet(f.data).kind for f in ring.read()].count("udp") == 20
    netns.call(send, count=500)
    assert len(ring.read()) == 64
    assert ring.lost() > 500
    ring.close()


def test_the_filter_lets_this_flow_in_and_others_bulk_out(netns: Netns) -> None:
    def talk() -> int:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
            other, _ = server.accept()
            with other:
                one.sendall(b"x" * 100)
                other.recv(200)
            return int(one.getsockname()[1])

    flow = Flow("tcp", "127.0.0.1", 1, 3)
    ring = netns.call(lambda: PacketRing(frame_filter(flow)))
    netns.call(talk)
    kinds = {decode.ethernet(f.data).flag_names for f in ring.read()}
    assert kinds == {"SYN", "SYN/ACK", "FIN/ACK"}  # no data, no plain acknowledgement
    ring.close()


def test_held_rules_go_with_their_holder(netns: Netns) -> None:
    rules = netns.call(HeldRules, HELD)
    assert "held" in netns.call(nft.list_table, "ip held")
    rules.close()
    rules.close()
    assert netns.call(nft.list_table, "ip held") == ""
    with pytest.raises(ToolError, match="syntax error"):
        netns.call(HeldRules, "tabel ip x {}")


def test_held_rules_go_with_a_killed_process(netns: Netns) -> None:
    code = (
        "import sys, time; from minik8s_net.kernel.nftrace import HeldRules; "
        f"held = HeldRules({HELD!r}); print('held', flush=True); time.sleep(60)"
    )
    process = netns.call(lambda: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert "held" in netns.call(nft.list_table, "ip held")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 5
    while netns.call(nft.list_table, "ip held"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_rule_events_name_rules_by_their_handles(netns: Netns) -> None:
    netns.call(
        nft.run,
        "table ip t { chain c { type filter hook input priority 0; udp dport 9 jump d; }; chain d { drop; }; }",
    )
    events = netns.call(TraceEvents)
    rules = netns.call(lambda: HeldRules(tracing_rules("minik8s-trace-t", Flow("udp", "127.0.0.1", 4444, 3))))

    def from_4444() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 4444))
            sock.sendto(b"x", ("127.0.0.1", 9))

    netns.call(from_4444)
    netns.call(send)  # another flow: not traced
    told = [(e.chain, e.verdict, e.target) for e in events.read() if e.table == "t" and e.handle]
    assert told == [("c", "jump", "d"), ("d", "drop", "")]
    assert netns.call(lookup.hook, "ip", "t", "c") == ("input", 0)
    assert netns.call(lookup.hook, "ip", "t", "d") == ("", 0)
    (handle,) = netns.call(lookup.handles, "ip", "t", "d")
    assert netns.call(nft.list_rules, "ip", "t", "d") == {handle: "drop"}
    rules.close()
    events.close()


def test_single_questions(netns: Netns) -> None:
    assert netns.call(lookup.route, "127.0.0.9") == "local 127.0.0.0/8 dev lo"
    assert netns.call(lookup.route, "10.1.2.3") == os.strerror(101)  # ENETUNREACH
    netns.call(nft.run, "table ip t { chain c { type filter hook output priority 0; ct state new accept; }; }")
    port = netns.call(send)
    entry = netns.call(lookup.tracked, 17, "127.0.0.1", port, "127.0.0.1", 9)
    assert entry is not None
    assert (entry.protocol, entry.reply) == ("udp", f"127.0.0.1:9 -> 127.0.0.1:{port}")
    assert netns.call(lookup.tracked, 17, "127.0.0.1", port, "127.0.0.1", 10) is None


def test_listeners_and_their_processes(netns: Netns) -> None:
    server = netns.call(lambda: socket.create_server(("127.0.0.1", 0)))
    with server:
        found = netns.call(sockets.listeners, "tcp")
        assert [(x.ip, x.port) for x in found] == [("127.0.0.1", server.getsockname()[1])]
        assert found[0].takes("127.0.0.1")
        assert not found[0].takes("127.0.0.2")
        owner = sockets.owner(found[0].inode, [os.getpid()])
        assert owner is not None
        assert owner[0] == os.getpid()
    assert sockets.processes_in(netns.fd) in ([], [os.getpid()])  # a thread of ours may count as its process
