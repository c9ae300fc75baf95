"""nf_tables' netlink messages, packed by hand (linux/netfilter/nf_tables.h), in the calling thread's namespace.

For changes that must cost what they change: nft and libnftables first read every chain and set of the ruleset, which
with thousands of chains takes longer than the change. Here nothing is read. A transaction is all or nothing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import struct
from collections.abc import Iterable, Sequence

from .netlink import APPEND, CREATE, NETFILTER, REQUEST, NetlinkError, attr, attributes, nest, string, text
from .nfnetlink import NFTABLES, connect, header, request

NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, DELRULE, NEWSET, DELSET, NEWELEMENT, DELELEMENT = 3, 4, 5, 6, 8, 9, 11, 12, 14
NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
ANONYMOUS_MAP = 0x1 | 0x2 | 0x8  # anonymous, constant, map
DROP, JUMP, GOTO, RETURN = 0, -3, -4, -5
_BEGIN, _END = 16, 17
_INTEGER, _VERDICT = 4, 0xFFFFFF00  # types of keys and values
_KEYS = {"ipv4_addr": 7, "inet_proto": 12, "inet_service": 13}  # nft's own numbers: of a compound key, six bits each
_HOOKS = {"prerouting": 0, "output": 3}
_HOST_ORDER = b"\x00\x04" + struct.pack("=I", 1)  # userdata by which nft knows how to print a key
_HEADER = struct.Struct("=IHHII")
_SNDBUFFORCE, _LARGEST = 32, 4 << 20

Message = tuple[int, int, bytes]  # NEWCHAIN …, flags, attributes


# -- what a transaction is made of -------------------------------------------------------------------------------------
@functools.lru_cache(1024)
def be32(kind: int, value: int) -> bytes:
    """A four-byte attribute in network byte order, as nftables wants its numbers."""
    return attr(kind, struct.pack("!I", value & 0xFFFFFFFF))


_INTEGER_TO_VERDICT = be32(3, ANONYMOUS_MAP) + be32(4, _INTEGER) + be32(5, 4) + be32(6, _VERDICT) + be32(7, 0)


def new_table(table: str, comment: str) -> Message:
    """Make a table."""
    return NEWTABLE, CREATE, text(1, table) + attr(6, comment_data(comment))


def new_chain(table: str, name: str) -> Message:
    """Make a chain (no hook)."""
    return NEWCHAIN, CREATE, text(1, table) + text(3, name)


def new_nat_chain(table: str, name: str, hook: str, priority: int) -> Message:
    """Make a chain that translates, of policy accept."""
    hooked = nest(4, be32(1, _HOOKS[hook]), be32(2, priority))
    return NEWCHAIN, CREATE, text(1, table) + text(3, name) + text(7, "nat") + be32(5, 1) + hooked


def delete_table(table: str) -> Message:
    """Remove a table with all that is in it."""
    return DELTABLE, 0, text(1, table)


def flush_chain(table: str, name: str) -> Message:
    """Remove all rules of a chain."""
    return DELRULE, 0, _place(table, name)


def delete_chain(table: str, name: str) -> Message:
    """Remove an empty chain. EBUSY while something jumps to it."""
    return DELCHAIN, 0, text(1, table) + text(3, name)


def add_rule(table: str, chain: str, expressions: Iterable[bytes], comment: str = "") -> Message:
    """Append a rule."""
    userdata = attr(7, comment_data(comment)) if comment else b""
    return NEWRULE, CREATE | APPEND, _place(table, chain) + nest(4, *expressions) + userdata


@functools.lru_cache(64)
def _place(table: str, name: str) -> bytes:
    return text(1, table) + text(2, name)


def new_set(
    table: str, name: str, keys: Sequence[str], number: int, comment: str, *, verdicts: bool = False
) -> Message:
    """Make a set, or a map to verdicts. Each part of a compound key takes four bytes."""
    kind = functools.reduce(lambda so_far, key: so_far << 6 | _KEYS[key], keys, 0)
    body = be32(3, 0x8 if verdicts else 0) + be32(4, kind) + be32(5, 4 * len(keys))
    body += be32(6, _VERDICT) + be32(7, 0) if verdicts else b""
    order = b"\x00\x04" + struct.pack("=I", 0 if len(keys) > 1 else 2)  # 2: network byte order
    told = attr(13, order + bytes((7, len(comment) + 1)) + comment.encode() + b"\0")
    return NEWSET, CREATE, _place(table, name) + body + be32(10, number) + told


def new_anonymous_map(table: str, name: str, number: int, size: int) -> Message:
    """From integers to verdicts, for one rule of this transaction. `number` is its own within the transaction.

    A whole name, not the usual `__map%d`: the kernel finds a number for that by reading all sets' names.
    """
    rest = nest(9, be32(1, size)) + be32(10, number) + attr(13, _HOST_ORDER)
    return NEWSET, CREATE, _place(table, name) + _INTEGER_TO_VERDICT + rest


def add_elements(table: str, name: str, elements: Iterable[bytes]) -> Message:
    """Put elements into a set or map."""
    return NEWELEMENT, CREATE, _place(table, name) + nest(3, *elements)


def fill_anonymous_map(table: str, number: int, elements: Iterable[bytes]) -> Message:
    """By its number: by name, the kernel would walk through all sets of the table."""
    return NEWELEMENT, CREATE, text(1, table) + nest(3, *elements) + be32(4, number)


def delete_elements(table: str, name: str, elements: Iterable[bytes]) -> Message:
    """Take elements out of a set or map. ENOENT if one is not in it."""
    return DELELEMENT, 0, _place(table, name) + nest(3, *elements)


def element(key: bytes, data: bytes = b"", comment: str = "") -> bytes:
    """`data` is a `verdict(…)`, or nothing for a set's element."""
    value = nest(2, data) if data else b""
    return nest(1, nest(1, attr(1, key)), value, attr(6, comment_data(comment)) if comment else b"")


def verdict(code: int, chain: str = "") -> bytes:
    """A verdict as data: accept, drop, or jump and goto with their chain."""
    return nest(2, be32(1, code), text(2, chain) if chain else b"")


def comment_data(comment: str) -> bytes:
    """As nft writes it: type 0, length, text."""
    data = comment.encode()[:253] + b"\0"
    return bytes((0, len(data))) + data


# -- sending it --------------------------------------------------------------------------------------------------------
class Connection:
    """Sends transactions to the namespace it was opened in, and keeps that alive: close it.

    It is kept open between them because closing one waits until the kernel has freed what was deleted (10 ms).
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER)
        self._socket.setblocking(False)
        for option in (_SNDBUFFORCE, socket.SO_SNDBUF):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _LARGEST)
                break
            except PermissionError:
                continue  # rootless: as much as anybody may have, then
        self.room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 4096
        """Bytes that one transaction may have."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def transact(self, messages: Sequence[Message]) -> None:
        """All of it or nothing. Raises NetlinkError for the first message that the kernel refused."""
        if not messages:
            return
        self._socket.send(b"".join(_framed(messages)))  # the kernel has done it when this returns
        refusals = []
        with contextlib.suppress(BlockingIOError):
            while True:  # it answers only what it refused, by the message's number
                data = self._socket.recv(1 << 16)
                (number,), (code,) = struct.unpack_from("=I", data, 8), struct.unpack_from("=i", data, 16)
                refusals.append(NetlinkError(-code, _words(messages, number)))
        if refusals:
            raise refusals[0]


def size(messages: Iterable[Message]) -> int:
    """Bytes of a transaction."""
    return sum(20 + len(body) for _, _, body in messages)


def _framed(messages: Sequence[Message]) -> Iterable[bytes]:
    batch = struct.pack("!BBH", 0, 0, NFTABLES)
    family = header()
    yield _HEADER.pack(20, _BEGIN, REQUEST, 0, 0) + batch
    for number, (kind, flags, body) in enumerate(messages, 1):
        yield _HEADER.pack(20 + len(body), NFTABLES << 8 | kind, flags | REQUEST, number, 0) + family + body
    yield _HEADER.pack(20, _END, REQUEST, len(messages) + 1, 0) + batch


def _words(messages: Sequence[Message], number: int) -> str:
    if not 0 < number <= len(messages):
        return f"nf_tables transaction of {len(messages)} messages"
    kind, _, body = messages[number - 1]
    names = [v.split(b"\0")[0].decode(errors="replace") for k, v in attributes(body).items() if k in (1, 2)]
    return f"nf_tables message {kind} ({' '.join(names)}), {number} of {len(messages)}"


def tables() -> list[str]:
    """The names of all tables of family ip."""
    with connect() as sock:
        found = [attributes(body, 4) for _, body in sock.dump(NFTABLES << 8 | GETTABLE, header(), "tables")]
    return [string(a.get(1)) for a in found]


def exists(table: str, chain: str) -> bool:
    """Whether there is such a chain in a table of family ip."""
    body = text(1, table) + text(3, chain)
    with connect() as sock:
        try:
            sock.burst([request(NFTABLES, GETCHAIN, body, f"look for chain {chain}")])
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
    return True
