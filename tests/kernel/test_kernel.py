"""Each thin layer over the kernel, against a kernel."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minik8s_net.kernel import capabilities, conntrack, ensure, ipset, iptables, nft, rooted, rtnetlink, sysctl
from minik8s_net.kernel.netlink import NetlinkError, Socket
from minik8s_net.kernel.netns import Netns
from minik8s_net.kernel.rtnetlink import Address, Fdb, Link, Neighbour, Route
from minik8s_net.kernel.tool import ToolError

pytestmark = pytest.mark.netns


@pytest.fixture
def ns() -> Iterator[Netns]:
    space = Netns.anonymous("test")
    yield space
    space.close()


def wanted() -> ensure.Wanted:
    mac = "0a:58:0a:00:00:02"
    return ensure.Wanted(
        [Link("lo"), Link("br0", "bridge", mtu=1450), Link("vx.1", "vxlan", vni=7, local="10.0.0.1")],
        [Address("10.0.0.1", 24, "br0")],
        [Route("default", "br0", "10.0.0.2"), Route("10.9.0.0/16", "vx.1", "10.9.0.0", onlink=True)],
        [Neighbour("10.0.0.2", mac, "br0")],
        [Fdb(mac, "10.0.0.2", "vx.1")],
    )


def test_ensure_makes_mends_and_then_does_nothing(ns: Netns) -> None:
    assert ns.call(ensure.ensure, wanted()) and ns.call(ensure.ensure, wanted()) == []
    assert Route("default", "br0", "10.0.0.2") in ns.call(rtnetlink.routes)
    assert ns.call(rtnetlink.fdb) == wanted().fdb
    ns.call(ensure.remove, ensure.Wanted(links=[Link("vx.1")]))
    assert "create vxlan vx.1" in ns.call(ensure.ensure, wanted())
    everything = wanted()
    everything.links.pop(0)  # lo stays
    for _ in range(2):
        ns.call(ensure.remove, everything)
    assert [link.name for link in ns.call(rtnetlink.links) if link.kind] == []


def test_errors_are_the_kernels_words(ns: Netns) -> None:
    with pytest.raises(NetlinkError, match=r"add address 10\.0\.0\.1/24 to nope"):
        ns.call(ensure.ensure, ensure.Wanted(addresses=[Address("10.0.0.1", 24, "nope")]))


def test_iptables_pieces_errors_and_jumps(ns: Netns) -> None:
    ns.call(iptables.restore, [f"*nat\n:C{n} - [0:0]\n-A C{n} -j RETURN\nCOMMIT" for n in range(3)])
    assert iptables.chains(ns.call(iptables.save, "nat"))["C2"] == ["-A C2 -j RETURN"]
    with pytest.raises(ToolError, match="at: -A C1 --nonsense"):
        ns.call(iptables.restore, "*nat\n:C1 - [0:0]\n-A C1 --nonsense\nCOMMIT\n")
    ns.call(iptables.ensure_jump, "nat", "OUTPUT", "-j C1")
    assert ns.call(iptables.ensure_jump, "nat", "OUTPUT", "-j C2", first=True)
    assert not ns.call(iptables.ensure_jump, "nat", "OUTPUT", "-j C2", first=True)
    assert iptables.chains(ns.call(iptables.save, "nat"))["OUTPUT"][0] == "-A OUTPUT -j C2"


def test_ipset_members(ns: Netns) -> None:
    ns.call(ipset.restore, "create A hash:ip\ncreate N hash:net\ncreate P hash:ip,port\n")
    assert ns.call(ipset.add, "A", "10.0.0.1", "10.0.0.2") == 2 and ns.call(ipset.add, "A", "10.0.0.1") == 0
    assert ns.call(ipset.contains, "A", "10.0.0.1") and not ns.call(ipset.contains, "A", "10.0.0.9")
    ns.call(ipset.add, "N", "10.0.0.0/24")
    ns.call(ipset.add, "N", "10.0.0.7", nomatch=True)
    assert ns.call(ipset.contains, "N", "10.0.0.1") and not ns.call(ipset.contains, "N", "10.0.0.7")
    assert ns.call(ipset.add, "P", "10.0.0.1,udp:53") == 1 and "10.0.0.1,udp:53" in ns.call(ipset.save)
    assert ns.call(ipset.remove, "A", "10.0.0.1", "10.0.0.8") == 1
    assert ns.call(ipset.names) == ["A", "N", "P"] and ns.call(ipset.destroy, "A", "gone") == 1
    with pytest.raises(NetlinkError, match="add to set A"):
        ns.call(ipset.add, "A", "10.0.0.1")
    with pytest.raises(ToolError, match="at: create X hash:nonsense"):
        ns.call(ipset.restore, "create X hash:nonsense\n")


@pytest.mark.parametrize("library", [True, False])
def test_nft_in_process_and_by_command(ns: Netns, library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not library:
        monkeypatch.setattr(nft, "library", lambda: None)
    elif nft.library() is None:
        pytest.skip("libnftables.so.1 is not installed")
    ns.call(nft.run, "add table ip t\nadd set ip t s { type ipv4_addr; }\nadd element ip t s { 10.0.0.1 }\n")
    assert "10.0.0.1" in ns.call(nft.list_table, "ip t") and ns.call(nft.list_table, "ip none") == ""
    assert {"table", "set"} <= {key for each in ns.call(nft.list_json) for key in each}
    with pytest.raises(ToolError):
        ns.call(nft.run, "add element ip t nope { 10.0.0.1 }")


def test_rules_are_in_force_before_the_old_ones_are_freed(ns: Netns) -> None:
    """What we wait for is the commit, not the tool's end; a refused rule is told as ever."""

    def chain(number: int, rules: int) -> str:
        made = (f"-A BIG -s 10.0.{i // 250}.{i % 250}/32 -m comment --comment r{number}" for i in range(rules))
        return "\n".join(["*filter", ":BIG - [0:0]", *made, "COMMIT\n"])

    many = 150 if iptables.rootless() else 3000  # an ordinary user's batch must fit the socket's buffer
    for number, rules in enumerate((3, many, 1)):
        ns.call(iptables.restore, chain(number, rules), freed=False)
        found = iptables.chains(ns.call(iptables.save, "filter"))["BIG"]
        assert len(found) == rules and all(f" r{number}" in line for line in found)
    with pytest.raises(ToolError, match="at: -A BIG --nonsense"):
        ns.call(iptables.restore, "*filter\n-A BIG --nonsense\nCOMMIT\n", freed=False)
    deadline = time.monotonic() + 5
    while children_named("iptables") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not children_named("iptables"), "each is waited for, by somebody"


def children_named(name: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            called, _, rest = path.read_text().partition("(")[2].rpartition(")")
            if called.startswith(name) and int(rest.split()[1]) == os.getpid():
                found.append(called)
    return found


def test_two_threads_read_large_rulesets_at_once(ns: Netns) -> None:
    """libnftables alone would have each begin again whenever the other has looked: neither ends."""
    other = Netns.anonymous("other")
    rule = "numgen random mod 2 vmap { 0 : drop, 1 : drop }"
    chains = [f"add chain ip t c{i}\nadd rule ip t c{i} {rule}\n" for i in range(1000)]
    for place, more in ((ns, 1), (other, 3)):  # not of the same generation
        place.call(nft.run, "add table ip t\n")
        for start in range(0, 1000, 50):  # an ordinary user's batch must fit the socket's buffer
            place.call(nft.run, "".join(chains[start : start + 50]))
        for i in range(more):
            place.call(nft.run, f"add chain ip t x{i}\n")

    def read(place: Netns) -> None:
        for _ in range(10):
            place.call(nft.list_rules, "ip", "t", "c1")

    readers = [threading.Thread(target=read, args=(place,), daemon=True) for place in (ns, other)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert not any(reader.is_alive() for reader in readers)
    other.close()


def test_an_iterator_that_ends_does_not_hang_who_waits(ns: Netns) -> None:
    async def script() -> None:
        async with asyncio.timeout(5):
            await ns.run(next, iter(()))

    with pytest.raises(RuntimeError, match="nothing more to take"):
        asyncio.run(script())


def test_a_containers_files_lead_no_further_than_its_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("of the machine")
    (root / "etc" / "plain").write_text("of the container")
    (root / "etc" / "absolute").symlink_to("/etc/plain")
    (root / "etc" / "out").symlink_to(tmp_path / "secret")
    (root / "etc" / "up").symlink_to("../../secret")
    os.mkfifo(root / "etc" / "pipe")
    assert rooted.read_text(str(root), "/etc/plain") == "of the container"
    assert rooted.read_text(str(root), "/etc/absolute") == "of the container"
    assert rooted.read_text(str(root), "/etc/plain", most=2) == "of"
    for name in ("out", "up", "nothing"):
        with pytest.raises(FileNotFoundError):
            rooted.read_text(str(root), f"/etc/{name}")
    for name in ("pipe", ""):
        with pytest.raises(OSError, match="is no plain file"):
            rooted.read_text(str(root), f"/etc/{name}")


def test_udp_flows_are_found_and_deleted(ns: Netns) -> None:
    def send() -> None:
        ensure.ensure(ensure.Wanted(links=[Link("lo")]))
        iptables.restore("*filter\n-A OUTPUT -m conntrack --ctstate NEW\nCOMMIT\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", 53))

    ns.call(send)
    assert [e.dst for e in ns.call(conntrack.entries) if e.dport == 53] == ["127.0.0.1"]
    assert ns.call(conntrack.delete_udp, "127.0.0.1", 53, "10.0.0.1") == 0
    assert ns.call(conntrack.delete_udp, "", 53, "") == 1
    assert not [e for e in ns.call(conntrack.entries) if e.dport == 53]


def test_sysctl(ns: Netns) -> None:
    ns.call(sysctl.put, "net.ipv4.ip_forward", 0)
    assert ns.call(sysctl.ensure, {"net.ipv4.ip_forward": 1}) == ["net.ipv4.ip_forward: 0 -> 1"]
    assert ns.call(sysctl.ensure, {"net.ipv4.ip_forward": 1}) == [] and sysctl.get("net.no.such") is None
    with pytest.raises(FileNotFoundError):
        sysctl.ensure({"net.no.such": 1})
    assert sysctl.ensure({"net.no.such": 1}, optional=True) == []


def test_doctor_finds_facts_and_names_mends() -> None:
    found = {finding.name: finding for finding in capabilities.findings()}
    assert found["namespaces"].ok and found["bridge"].ok
    assert all(finding.mend for finding in found.values() if not finding.ok)


class Answers:
    """A kernel that gives these answers, one to each question; each is cut into what `recv` returns."""

    def __init__(self, *answers: list[bytes]) -> None:
        self._answers, self._now = iter(answers), iter(list[bytes]())

    def send(self, _: bytes) -> None:
        self._now = iter(next(self._answers))

    def recv(self, _: int) -> bytes:
        return next(self._now)

    def close(self) -> None:
        pass


def dumped(*answers: list[bytes]) -> list[tuple[int, bytes]]:
    with Socket() as sock:
        sock._socket.close()
        sock._socket = Answers(*answers)  # type: ignore[assignment]
        return list(sock.dump(18, b"", "list links"))


def message(kind: int, body: bytes, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


DONE = message(3, bytes(4))


def test_a_list_that_changed_meanwhile_is_asked_for_again() -> None:
    torn, whole = [message(16, b"one "), message(16, b"two ", 2 | 0x10), DONE], [message(16, b"two ") + DONE]
    assert dumped(torn, whole) == [(16, b"two ")]
    assert dumped([message(16, b"one "), message(3, bytes(4), 2 | 0x10)], whole) == [(16, b"two ")]
    with pytest.raises(NetlinkError, match="list links: it changed during each") as refused:
        dumped(*[torn] * 20)
    assert refused.value.errno == errno.EINTR


def test_a_list_that_the_kernel_breaks_off_is_an_error() -> None:
    with pytest.raises(NetlinkError, match="list links: Message too long"):
        dumped([message(16, b"one "), message(3, struct.pack("=i", -errno.EMSGSIZE))])


def test_a_namespace_that_cannot_be_joined_costs_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            Netns("none", tmp_path / "none")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
