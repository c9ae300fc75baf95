"""The host is sacred: links, routes, rules, sysctls, names, mounts, processes and files, before and after."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minik8s_net.boot.record import Process, Record
from tests.conftest import Home

pytestmark = pytest.mark.cluster
VOLATILE = ("/proc/sys/net/netfilter/nf_conntrack_count", "nf_conntrack_buckets", "/neigh/", "route/flush")


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True).stdout


def sysctls() -> dict[str, str]:
    found = {}
    for path in Path("/proc/sys/net").rglob("*"):
        if path.is_file() and not any(word in str(path) for word in VOLATILE):
            try:
                found[str(path)] = path.read_text()
            except OSError:
                continue
    return found


def processes() -> dict[str, str]:
    """Every process of the machine that is not this test's own or the kernel's: pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "minik8s" in line and "pytest" not in line:
                found[entry.name] = line
    return found


def snapshot() -> dict[str, object]:
    netns = Path("/run/netns")
    return {
        "links": run("ip", "-o", "link"),
        "addresses": [line.split("valid_lft")[0] for line in run("ip", "-o", "address").splitlines()],
        "routes": run("ip", "route", "show", "table", "all"),
        "rules": run("ip", "rule"),
        "iptables": [line.split("[")[0] for line in run("iptables-save").splitlines() if not line.startswith("#")],
        "nft": run("nft", "list", "tables"),
        "ipset": run("ipset", "list", "-n"),
        "sysctls": sysctls(),
        "names": sorted(p.name for p in netns.iterdir()) if netns.is_dir() else None,
        "mounts": sorted(Path("/proc/self/mounts").read_text().splitlines()),
        "processes": processes(),
        "tmp": sorted(p.name for p in Path("/tmp").iterdir() if "minik8s" in p.name),
        "shm": sorted(p.name for p in Path("/dev/shm").iterdir()),
    }


def same(before: dict[str, object], after: dict[str, object]) -> None:
    for what, was in before.items():
        assert after[what] == was, f"{what} of the host changed"


def settled(before: dict[str, object], eventually: Callable[..., object]) -> None:
    """Namespaces end some milliseconds after the last process; everything else must be equal at once."""
    try:
        eventually(lambda: snapshot() == before, seconds=3)
    except AssertionError:
        same(before, snapshot())


def test_up_and_down_leave_nothing(fresh_home: Home, eventually: Callable[..., object]) -> None:
    before = snapshot()
    fresh_home.minik8s("up", "--cluster", "a", "--nodes", "2")
    during = snapshot()
    for what in ("links", "addresses", "routes", "rules", "iptables", "nft", "ipset", "sysctls", "mounts"):
        assert during[what] == before[what], f"{what} of the host changed while the cluster runs"
    fresh_home.minik8s("down", "--cluster", "a")
    settled(before, eventually)
    assert not list((fresh_home.path / "state").iterdir())
    assert not (fresh_home.path / ".kube").exists()


def test_demo_leaves_nothing(fresh_home: Home, eventually: Callable[..., object]) -> None:
    before = snapshot()
    fresh_home.minik8s("demo", "-o", "json")
    settled(before, eventually)


@pytest.mark.parametrize(
    "victims", [["controller"], ["runtime"], ["supervisor"], ["supervisor", "runtime", "controller"]]
)
def test_killed_parts_leave_nothing(victims: list[str], fresh_home: Home, eventually: Callable[..., object]) -> None:
    before = snapshot()
    fresh_home.minik8s("up", "--cluster", "k", "--nodes", "2")
    owned = Record(fresh_home.state("k")).read()
    for victim in victims:
        os.kill(owned[victim].pid, signal.SIGKILL)
    time.sleep(0.2)
    fresh_home.minik8s("down", "--cluster", "k")
    settled(before, eventually)


def test_killed_dns_leaves_nothing(fresh_home: Home, eventually: Callable[..., object]) -> None:
    before = snapshot()
    fresh_home.minik8s("up", "--cluster", "k", "--nodes", "2")
    dns = ["-n", "kube-system", "-l", "k8s-app=kube-dns"]
    pods = fresh_home.minik8s("get", "pods", "--cluster", "k", *dns, "-o", "name")
    names = [line.partition("/")[2] for line in pods.stdout.split()]
    assert len(names) == 2
    for name in names:
        kill = ["sh", "-c", "kill -9 -1; sleep 5"]  # every process of the container; then its namespace ends
        done = fresh_home.minik8s("exec", "--cluster", "k", "-n", "kube-system", name, "--", *kill, check=False)
        assert done.returncode == 137, done
    fresh_home.minik8s("down", "--cluster", "k")
    settled(before, eventually)


def test_rootless_leaves_nothing(user_home: Home, eventually: Callable[..., object]) -> None:
    before = snapshot()
    user_home.minik8s("up", "--cluster", "u", "--nodes", "2")
    user_home.minik8s("down", "--cluster", "u")
    settled(before, eventually)


def names() -> list[str]:
    """What `ip netns list` shows."""
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines()]


def test_names_of_others_stay(fresh_home: Home) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: an ordinary user has no names in /run/netns")
    subprocess.run(["ip", "netns", "add", "b.other"], check=True)
    try:
        fresh_home.minik8s("up", "--cluster", "b", "--nodes", "1")
        assert "b.node-1" in names()
        fresh_home.minik8s("down", "--cluster", "b")
        assert "b.other" in names()
        assert "b.node-1" not in names()
    finally:
        subprocess.run(["ip", "netns", "delete", "b.other"], check=True)


def test_a_process_is_more_than_its_id() -> None:
    mine = Process.of(os.getpid())
    assert mine.alive()
    assert not Process(mine.pid, mine.started + 1).alive()
    child = subprocess.Popen(["sleep", "60"])
    process = Process.of(child.pid)
    assert Process(child.pid, process.started + 1).end((signal.SIGKILL, 1.0))  # somebody else's: left alone
    assert child.poll() is None
    assert process.end((signal.SIGTERM, 2.0))
    child.wait()
