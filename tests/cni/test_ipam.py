"""Leases: exclusive, whole, going round, and there after a crash."""

import multiprocessing
import resource
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from minik8s_net.cni.errors import CniError
from minik8s_net.cni.ipam import Ipam

CIDR = IPv4Network("10.244.1.0/24")


def test_same_key_same_address_and_a_recreated_pod_gets_another(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, CIDR)
    first = ipam.reserve("a")
    assert first == IPv4Address("10.244.1.2") and ipam.reserve("a") == first
    assert ipam.release("a") == first and ipam.release("a") is None
    assert ipam.reserve("a") == IPv4Address("10.244.1.3")


def test_a_new_process_finds_the_leases(tmp_path: Path) -> None:
    held = Ipam(tmp_path, CIDR).reserve("a")
    after = Ipam(tmp_path, CIDR)
    assert after.find("a") == held and after.reserve("b") != held
    assert (tmp_path / str(held)).read_text() == "a"
    assert after.adopt({"b"}) == [held] and set(after.leases().values()) == {"b"}


def test_full_then_round_again(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, IPv4Network("10.244.1.0/29"))
    taken = [ipam.reserve(str(n)) for n in range(5)]
    assert [str(a) for a in taken] == [f"10.244.1.{n}" for n in range(2, 7)]
    with pytest.raises(CniError, match=r"no address left in 10\.244\.1\.0/29: 5 are leased"):
        ipam.reserve("more")
    ipam.release("3")
    assert ipam.reserve("more") == taken[3]


def _reserve(folder: Path, worker: int) -> list[str]:
    ipam = Ipam(folder, CIDR)
    return [str(ipam.reserve(f"{worker}-{n}")) for n in range(50)]


def test_processes_side_by_side_never_share(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        taken = pool.starmap(_reserve, [(tmp_path, worker) for worker in range(4)])
    assert len({address for each in taken for address in each}) == 200
    assert not list(tmp_path.glob(".*"))


def test_a_claim_is_the_only_lease(tmp_path: Path) -> None:
    """A pod comes back from a snapshot at its old address, while it has another."""
    ipam = Ipam(tmp_path, CIDR)
    first, other = ipam.reserve("a"), ipam.reserve("b")
    ipam.claim("a", other)
    assert ipam.leases() == {other: "a"} and ipam.find("b") is None and ipam.find("a") == other
    assert ipam.release("a") == other and ipam.leases() == {}
    assert first != other


def test_without_space_no_lease_and_no_litter(tmp_path: Path) -> None:
    """The kernel refuses every byte; who has an address keeps it."""
    ipam = Ipam(tmp_path, CIDR)
    held = ipam.reserve("a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        assert ipam.reserve("a") == held
        for lease in (lambda: ipam.reserve("b"), lambda: ipam.claim("b", held)):
            with pytest.raises(CniError, match=r"no address can be leased: .*: File too large"):
                lease()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ipam.leases() == {held: "a"} and not list(tmp_path.glob(".*"))
