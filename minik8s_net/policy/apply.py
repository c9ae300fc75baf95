"""Bring a `Table` into the kernel, and read back the one that is there. Runs on the node's namespace thread."""

from __future__ import annotations

import time

from ..kernel import ipset, iptables, nft
from ..kernel.netlink import NetlinkError
from ..kernel.tool import ToolError
from . import entry
from .render import JUMPS, OWN_PREFIXES, jump_rule
from .sets import OWN_SETS, PODS
from .table import SetContent, Steps, Table, pieces

PATIENCE, PAUSE = 0.2, 0.004  # seconds for sets to be free; between two tries


# -- reading -----------------------------------------------------------------------------------------------------------
def read() -> Table:
    """What of ours the kernel holds now. Makes the set of pods and the entry table if they aren't there."""
    table = Table()
    for chain, lines in iptables.chains(iptables.save("filter")).items():
        if chain.startswith(OWN_PREFIXES):
            table.chains[chain] = tuple(line.split(" ", 2)[2] for line in lines)
    ipset.restore(f"create {PODS} hash:ip")
    sets = parse_sets(ipset.save())
    table.sets = {name: content for name, content in sets.items() if name.startswith(OWN_SETS) and name != PODS}
    known, ports = sets[PODS].members, _entry()
    table.pods = {ip: port for ip, port in ports.items() if ip in known}
    ipset.change(PODS, remove=known - set(ports))
    nft.run(entry.change("delete", {ip: port for ip, port in ports.items() if ip not in known}))
    return table


def _entry() -> dict[str, str]:
    try:
        return entry.parse(nft.list_json(f"list set bridge {entry.TABLE} {entry.SET}"))
    except ToolError:  # no such table
        nft.run(entry.base())
        return {}


def parse_sets(saved: str) -> dict[str, SetContent]:
    """`ipset save`: name -> content."""
    types: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    for line in saved.splitlines():
        words = line.split()
        if words[0] == "create":
            types[words[1]], members[words[1]] = words[2], set()
        elif words[0] == "add":
            members[words[1]].add(words[2])
    return {name: SetContent(kind, frozenset(members[name])) for name, kind in types.items()}


# -- writing ---------------------------------------------------------------------------------------------
def apply(steps: Steps) -> None:
    """Do the steps, in their order. Raises ToolError, NetlinkError; what was done stays, for `read` to see."""
    enforce(steps)
    tidy(steps.destroy)


def enforce(steps: Steps) -> None:
    """All but the destruction of sets that no rule matches any more: on that nothing depends but the next change."""
    nft.run(entry.change("delete", steps.close))
    ipset.change(PODS, remove=steps.close)
    fill = [f"add {name} {m}" for name in steps.create for m in steps.add.get(name, ())]
    ipset.restore("\n".join([*(f"create {name} {kind}" for name, kind in steps.create.items()), *fill]))
    for name in steps.add.keys() - steps.create.keys():
        ipset.change(name, add=steps.add[name])
    iptables.restore(pieces(steps.rules, iptables.PIECE_LINES if iptables.rootless() else None), freed=False)
    for name, members in steps.remove.items():
        ipset.change(name, remove=members)
    ipset.change(PODS, add=steps.open)
    nft.run(entry.change("add", steps.open))


def tidy(sets: list[str]) -> None:
    """Destroy sets. They are in use until the kernel has freed the last rule that matched them, some 15 ms."""
    patience = time.monotonic() + PATIENCE
    while sets:
        try:
            ipset.destroy(*sets)
            break
        except NetlinkError as error:
            if error.errno != ipset.BUSY or time.monotonic() > patience:
                raise
            time.sleep(PAUSE)


def ensure_jumps() -> None:
    """Our jumps stand first in FORWARD, INPUT and OUTPUT. Call after the chains exist."""
    for chain, target in JUMPS:
        iptables.ensure_jump("filter", chain, jump_rule(target), first=True)


def remove() -> None:
    """Take everything of ours away."""
    table = read()
    here = iptables.chains(iptables.save("filter"))
    jumps = [f"-D {c} {jump_rule(t)}" for c, t in JUMPS if f"-A {c} {jump_rule(t)}" in here.get(c, [])]
    lines = [*(f":{c} - [0:0]" for c in table.chains), *jumps, *(f"-X {c}" for c in table.chains)]
    iptables.restore("\n".join(["*filter", *lines, "COMMIT", ""]))
    ipset.destroy(*table.sets, PODS)
    nft.run(f"delete table bridge {entry.TABLE}\n")
