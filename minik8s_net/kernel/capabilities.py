"""What this machine's kernel and tools can do for a cluster, found out without changing it: for `minik8s doctor`.

`findings()` starts a child that tries everything in fresh namespaces of its own (a user namespace unless root), which
end with it. The kernel may load modules on demand meanwhile, as it does for any container; nothing else stays.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import iptables, requests, sysctl
from .netlink import Socket
from .netns import CLONE_NEWNET, CLONE_NEWNS, unshare
from .rtnetlink import Link
from .tool import ToolError, run

_CLONE_NEWUSER = 0x10000000
_TOOLS = {"iptables-restore": "iptables", "ipset": "ipset", "nft": "nftables", "conntrack": "conntrack"}
_RULES = {  # what kube-proxy's and the policies' rules use -> module
    "-m comment --comment x": "xt_comment",
    "-m conntrack --ctstate NEW": "xt_conntrack",
    "-m statistic --mode random --probability 0.5": "xt_statistic",
    "-m recent --name x --rcheck --seconds 9": "xt_recent",
    "-m addrtype --dst-type LOCAL": "xt_addrtype",
    "-m mark --mark 0x4000/0x4000": "xt_mark",
    "-j REJECT": "ipt_REJECT",
}
_NAT_RULES = {"-j MASQUERADE": "xt_MASQUERADE", "-p tcp -j DNAT --to-destination 10.0.0.1:80": "xt_nat"}
_BRIDGE_NF = "sudo modprobe br_netfilter && sudo sysctl -w " + " ".join(
    f"net.bridge.bridge-nf-call-{what}=0" for what in ("iptables", "ip6tables", "arptables")
)


@dataclass(frozen=True)
class Finding:
    """One fact: is it there, is a cluster impossible without it, what was seen, and the command that mends it."""

    name: str
    ok: bool
    required: bool
    detail: str
    mend: str = ""


def findings() -> list[Finding]:
    """Everything probed, in a child process; some 0.2 s."""
    command = [sys.executable, "-m", __name__]
    package_root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": package_root}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")
    if done.returncode:
        raise ToolError(command, done.returncode, done.stderr)
    return [Finding(**each) for each in json.loads(done.stdout)]


def _probe() -> Iterator[Finding]:
    tools = list(_tools())
    yield from tools
    try:
        _enter()
    except OSError as error:
        mend = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000"
        yield Finding("namespaces", False, True, str(error), mend)
        return
    yield Finding("namespaces", True, True, "as root" if not iptables.rootless() else "in a user namespace")
    yield _try("bridge", _link(Link("br", "bridge")), True, "sudo modprobe bridge")
    yield _try("br_netfilter", _br_netfilter, True, _BRIDGE_NF)
    yield _try("vxlan", _link(Link("vx", "vxlan", vni=1, local="127.0.0.1")), False, "sudo modprobe vxlan")
    yield _try("overlay", _overlay, True, "sudo modprobe overlay")
    yield _try("netem", _netem, False, "sudo modprobe sch_netem")
    if all(tool.ok for tool in tools):
        for table, rules in (("filter", _RULES), ("nat", _NAT_RULES)):
            for rule, module in rules.items():
                yield _try(f"iptables {rule}", _rule(table, rule), True, f"sudo modprobe {module}")
        for kind in ("hash:ip", "hash:net", "hash:ip,port"):
            module = f"ip_set_{kind.replace(':', '_').replace(',', '')}"
            yield _try(f"ipset {kind}", _tool("ipset", "create", module, kind), True, f"sudo modprobe {module}")


def _tools() -> Iterator[Finding]:
    for tool, package in _TOOLS.items():
        path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        yield Finding(tool, path is not None, True, path or "not installed", f"sudo apt-get install -y {package}")
    if shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin"):
        version = run(["iptables", "-V"]).stdout.strip()
        mend = "sudo update-alternatives --set iptables /usr/sbin/iptables-nft"
        yield Finding("iptables backend", "nf_tables" in version, True, version, mend)


def _enter() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        unshare(CLONE_NEWNET | CLONE_NEWNS)
    else:
        unshare(_CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    _mount(b"none", b"/", b"", 0x44000)  # MS_REC | MS_PRIVATE: what is mounted here stays here


def _try(name: str, probe: Callable[[], None], required: bool, mend: str) -> Finding:
    try:
        probe()
    except (OSError, ToolError) as error:
        return Finding(name, False, required, re.sub(r"\s+", " ", str(error)), mend)
    return Finding(name, True, required, "works")


def _link(link: Link) -> Callable[[], None]:
    def probe() -> None:
        with Socket() as sock:
            sock.burst([requests.new_link(link)])

    return probe


def _br_netfilter() -> None:
    if sysctl.get("net.bridge.bridge-nf-call-iptables") is None:
        raise OSError("no net.bridge.bridge-nf-call-iptables: the module is not loaded")


def _overlay() -> None:
    base = b"/tmp"
    _mount(b"tmpfs", base, b"tmpfs", 0)
    for folder in ("lower", "upper", "work", "merged"):
        Path("/tmp", folder).mkdir()
    extra = b",userxattr" if iptables.rootless() else b""
    _mount(
        b"overlay",
        b"/tmp/merged",
        b"overlay",
        0,
        b"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work" + extra,
    )


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes = b"") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source, target, kind, ctypes.c_ulong(flags), data):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {kind.decode() or 'private'}: {os.strerror(code)}")


def _netem() -> None:
    _tool("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")()


def _tool(*command: str) -> Callable[[], None]:
    def probe() -> None:
        done = run(command)
        if done.returncode:
            raise ToolError(command, done.returncode, done.stderr)

    return probe


def _rule(table: str, rule: str) -> Callable[[], None]:
    return lambda: iptables.restore(f"*{table}\n:PROBE - [0:0]\n-A PROBE {rule}\nCOMMIT\n")


if __name__ == "__main__":
    print(json.dumps([dataclasses.asdict(finding) for finding in _probe()]))
