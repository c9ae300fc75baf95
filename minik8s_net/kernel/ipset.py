"""ipsets: made in batches by `ipset restore`, changed member by member through nfnetlink (0.1 ms, no process).

Constants are those of linux/netfilter/ipset/ip_set.h. Members are written as `ipset` writes them: `10.0.0.1`,
`10.0.0.0/24`, `10.0.0.1,tcp:80`, `10.0.0.0/24,udp:53`; a member with `nomatch` is an exception to a wider network.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Iterable

from .netlink import BIG_ENDIAN, EXCL, NESTED, Request, attr, be16, nest, string, text, u8
from .netlink import attributes as parse
from .nfnetlink import IPSET, connect, header, request
from .tool import ToolError, run

_ADD, _DEL, _TEST, _DESTROY, _LIST = 9, 10, 11, 3, 7
_PROTOCOL = 6
_EXIST, _NO_SUCH_SET = (
    4103,
    errno.ENOENT,
)  # IPSET_ERR_EXIST: add of a member there is, delete of one there is not
BUSY = 4100  # IPSET_ERR_BUSY: destroy of one that a rule matches
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
_NOMATCH = 1 << 2  # IPSET_FLAG_NOMATCH


def restore(script: str) -> None:
    """Run `create`, `add`, `swap`, `destroy` … lines in one process; what exists already is no error."""
    if not script.strip():
        return
    command = ["ipset", "-exist", "restore"]
    done = run(command, script if script.endswith("\n") else script + "\n")
    if done.returncode:
        output = done.stderr or done.stdout
        number = output.partition(" in line ")[2].partition(":")[0]
        lines = script.splitlines()
        line = lines[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(lines) else ""
        raise ToolError(command, done.returncode, output, line)


def save() -> str:
    """All sets of this namespace as `ipset save` prints them."""
    done = run(["ipset", "save"])
    if done.returncode:
        raise ToolError(["ipset", "save"], done.returncode, done.stderr)
    return done.stdout


def change(name: str, add: Iterable[str] = (), remove: Iterable[str] = (), *, nomatch: bool = False) -> int:
    """Remove, then add members of one set; how many really changed. Raises NetlinkError (ENOENT: no such set)."""
    requests = [_member(_DEL, name, member, False) for member in remove]
    requests += [_member(_ADD, name, member, nomatch) for member in add]
    if not requests:
        return 0
    with connect() as sock:
        return sock.burst(requests)


def add(name: str, *members: str, nomatch: bool = False) -> int:
    """Idempotent; how many were new."""
    return change(name, add=members, nomatch=nomatch)


def remove(name: str, *members: str) -> int:
    """Idempotent; how many were there."""
    return change(name, remove=members)


def contains(name: str, member: str) -> bool:
    """Whether the kernel would match `member`. Raises NetlinkError (ENOENT: no such set)."""
    with connect() as sock:
        return bool(sock.burst([_member(_TEST, name, member, False)]))


def destroy(*names: str) -> int:
    """Destroy sets that nothing refers to any more; how many were there. Raises NetlinkError (in use)."""
    with connect() as sock:
        return sock.burst([_request(_DESTROY, n, b"", f"destroy set {n}", (errno.ENOENT,), EXCL) for n in names])


def names() -> list[str]:
    """The sets of this namespace."""
    with connect() as sock:
        body = header() + u8(1, _PROTOCOL) + attr(6, struct.pack("!I", 1 << 1))  # IPSET_FLAG_LIST_SETNAME
        return [string(parse(found, 4).get(2)) for _, found in sock.dump(IPSET << 8 | _LIST, body, "list sets")]


def digest() -> int:
    """A number that changes when any set or member of this namespace does: to notice changes without reading them."""
    with connect() as sock:
        found = sock.dump(IPSET << 8 | _LIST, header() + u8(1, _PROTOCOL), "list sets")
        return hash(tuple(body for _, body in found))


def _request(command: int, name: str, body: bytes, what: str, ignore: tuple[int, ...], flags: int = 0) -> Request:
    return request(IPSET, command, u8(1, _PROTOCOL) + text(2, name) + body, what, flags, ignore)


def _member(command: int, name: str, member: str, nomatch: bool) -> Request:
    address, _, port = member.partition(",")
    ip, _, prefix = address.partition("/")
    raw = ipaddress.ip_address(ip).packed
    data = nest(1, attr((1 if len(raw) == 4 else 2) | BIG_ENDIAN, raw))
    if prefix:
        data += u8(3, int(prefix))
    if port:
        protocol, _, number = port.partition(":")
        data += be16(4 | BIG_ENDIAN, int(number)) + u8(7, _PROTOCOLS[protocol])
    if nomatch:
        data += attr(8 | BIG_ENDIAN, struct.pack("!I", _NOMATCH))
    verb = {_ADD: "add to", _DEL: "remove from", _TEST: "look up in"}[command]
    return _request(command, name, attr(7 | NESTED, data), f"{verb} set {name}: {member}", (_EXIST,), EXCL)
