"""Frames read: Ethernet, ARP, IPv4, TCP, UDP, ICMP, DNS and VXLAN, as much as one line about each needs. Pure.

Formats: RFC 826 (ARP), 791 (IP), 9293 (TCP), 768 (UDP), 792 (ICMP), 1035 (DNS), 7348 (VXLAN). A frame that is cut
short or lies about a length is decoded as far as it goes; nothing here raises.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

VXLAN_PORT, DNS_PORT = 4789, 53
_ETHERTYPES = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ip6"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
_FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x20, "URG"), (0x10, "ACK"))
SYN, RST, FIN, ACK = 0x02, 0x04, 0x01, 0x10
_ICMP = {(0, 0): "echo reply", (8, 0): "echo request", (11, 0): "time to live exceeded"}
_UNREACHABLE = {
    0: "net unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    9: "net prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
_DNS_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV"}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


@dataclass(frozen=True)
class Packet:
    """A decoded frame. Fields of layers it does not have stay empty. `inner` is what VXLAN carries, or what ICMP
    quotes of the packet it complains about."""

    kind: str = ""
    """arp, tcp, udp, icmp, ip (another protocol), ip6, or ether."""
    src_mac: str = ""
    dst_mac: str = ""
    src: str = ""
    dst: str = ""
    sport: int = 0
    dport: int = 0
    ttl: int = 0
    tos: int = 0
    flags: int = 0
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    size: int = 0
    """Of the payload, by the headers' own count: `payload` may be cut."""
    vni: int = 0
    inner: Packet | None = None
    note: str = ""
    """What ARP or ICMP says, in words."""

    @property
    def ends(self) -> tuple[str, int, str, int]:
        return self.src, self.sport, self.dst, self.dport

    @property
    def flag_names(self) -> str:
        return "/".join(name for bit, name in _FLAGS if self.flags & bit)

    def __str__(self) -> str:
        return _line(self)


def ethernet(data: bytes) -> Packet:
    """A frame from its hardware header on."""
    if len(data) < 14:
        return Packet("ether", note=f"{len(data)} bytes")
    dst, src, kind = data[:6].hex(":"), data[6:12].hex(":"), int.from_bytes(data[12:14], "big")
    name = _ETHERTYPES.get(kind)
    if name == "ip":
        return ip(data[14:], src, dst)
    if name == "arp":
        return _arp(data[14:], src, dst)
    return Packet(name or "ether", src, dst, note="" if name else f"ethertype {kind:#06x}")


def ip(data: bytes, src_mac: str = "", dst_mac: str = "", transport: bytes | None = None) -> Packet:
    """An IPv4 packet from its header on; `transport` where the kernel hands over the headers one by one."""
    if len(data) < 20:
        return Packet("ip", src_mac, dst_mac, note="cut short")
    header, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    body = data[header:total] if transport is None else transport
    base = _Base(src_mac, dst_mac, socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), data[8], data[1])
    length = max(0, total - header)
    read = {6: _tcp, 17: _udp, 1: _icmp}.get(data[9])
    if read is None or int.from_bytes(data[6:8], "big") & 0x1FFF:  # a later fragment has no ports
        note = f"protocol {data[9]}" if read is None else f"fragment of {_PROTOCOLS[data[9]]}"
        return base.packet("ip", size=length, note=note)
    return read(base, body, length)


@dataclass(frozen=True)
class _Base:
    src_mac: str
    dst_mac: str
    src: str
    dst: str
    ttl: int
    tos: int

    def packet(self, kind: str, **rest: object) -> Packet:
        known = dict(src_mac=self.src_mac, dst_mac=self.dst_mac, src=self.src, dst=self.dst, ttl=self.ttl, tos=self.tos)
        return Packet(kind, **known, **rest)  # type: ignore[arg-type]


def _tcp(base: _Base, data: bytes, length: int) -> Packet:
    if len(data) < 14:
        sport, dport = _ports(data)
        seq = int.from_bytes(data[4:8], "big")  # ICMP quotes these eight bytes at least
        return base.packet("tcp", sport=sport, dport=dport, seq=seq)
    sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", data)
    header = (offset >> 4) * 4
    size = max(0, length - header)
    payload = data[header : header + size]
    return base.packet(
        "tcp", sport=sport, dport=dport, seq=seq, ack=ack, flags=flags & 0x3F, payload=payload, size=size
    )


def _udp(base: _Base, data: bytes, length: int) -> Packet:
    sport, dport = _ports(data)
    size = max(0, length - 8)
    payload = data[8 : 8 + size]
    if dport == VXLAN_PORT and len(payload) > 8:
        vni = int.from_bytes(payload[4:7], "big")
        inner = ethernet(payload[8:])
        return base.packet("udp", sport=sport, dport=dport, payload=payload, size=size, vni=vni, inner=inner)
    return base.packet("udp", sport=sport, dport=dport, payload=payload, size=size)


def _icmp(base: _Base, data: bytes, length: int) -> Packet:
    kind, code = (data[0], data[1]) if len(data) > 1 else (255, 255)
    if kind == 3:
        note = _UNREACHABLE.get(code, f"unreachable, code {code}")
        if code == 4:
            note += f", mtu {int.from_bytes(data[6:8], 'big')}"
    else:
        note = _ICMP.get((kind, code), f"type {kind} code {code}")
    quoted = ip(data[8:]) if kind in (3, 11) and len(data) >= 36 else None
    return base.packet("icmp", note=note, inner=quoted, size=max(0, length - 8))


def _arp(data: bytes, src_mac: str, dst_mac: str) -> Packet:
    if len(data) < 28:
        return Packet("arp", src_mac, dst_mac, note="cut short")
    asker, asked = socket.inet_ntoa(data[14:18]), socket.inet_ntoa(data[24:28])
    if data[7] == 1:
        note = f"who has {asked}? tell {asker}"
    else:
        note = f"{asker} is at {data[8:14].hex(':')}"
    return Packet("arp", src_mac, dst_mac, src=asker, dst=asked, note=note)


def _ports(data: bytes) -> tuple[int, int]:
    return (int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")) if len(data) >= 4 else (0, 0)


# -- DNS -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Dns:
    """A DNS message's question and answers, in words: `answers` as ("A", "10.96.0.10")."""

    id: int
    response: bool
    rcode: str
    name: str
    qtype: str
    answers: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.response:
            return f"{self.qtype}? {self.name}"
        told = ", ".join(f"{kind} {value}" for kind, value in self.answers)
        return f"{self.qtype} {self.name}: {told or (self.rcode if self.rcode != 'NOERROR' else 'no such record')}"


def dns(data: bytes) -> Dns | None:
    """None for what is no DNS message."""
    try:
        ident, flags, questions, answers, _, _ = struct.unpack_from("!6H", data)
        if questions != 1:
            return None
        name, at = _name(data, 12)
        qtype = int.from_bytes(data[at : at + 2], "big")
        found, at = [], at + 4
        for _ in range(answers):
            _, at = _name(data, at)
            kind, _, _, length = struct.unpack_from("!HHIH", data, at)
            found.append((_DNS_TYPES.get(kind, f"TYPE{kind}"), _record(data, at + 10, kind, length)))
            at += 10 + length
    except (struct.error, IndexError, ValueError):
        return None
    rcode = _RCODES.get(flags & 15, str(flags & 15))
    return Dns(ident, bool(flags & 0x8000), rcode, name, _DNS_TYPES.get(qtype, f"TYPE{qtype}"), found)


def _record(data: bytes, at: int, kind: int, length: int) -> str:
    if kind in (1, 28):
        return socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data[at : at + length])
    if kind in (2, 5, 12):
        return _name(data, at)[0]
    if kind == 33:
        port = int.from_bytes(data[at + 4 : at + 6], "big")
        return f"{_name(data, at + 6)[0]}:{port}"
    if kind == 15:
        return f"{int.from_bytes(data[at : at + 2], 'big')} {_name(data, at + 2)[0]}"
    if kind == 16:
        return _texts(data[at : at + length])
    if kind == 6:
        mname, after = _name(data, at)
        rname, after = _name(data, after)
        return " ".join([f"{mname}.", f"{rname}.", *map(str, struct.unpack_from("!5I", data, after))])
    return f"{length} bytes"


def _texts(data: bytes) -> str:
    """A TXT record's strings, in quotes."""
    texts = []
    while data:
        texts.append(f'"{data[1 : 1 + data[0]].decode("ascii", "backslashreplace")}"')
        data = data[1 + data[0] :]
    return " ".join(texts)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name at `at` and where it ends. A pointer leads to an earlier place; at most 64 are followed."""
    labels: list[str] = []
    end = 0
    for _ in range(128):
        length = data[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length == 0:
            return ".".join(labels), end or at + 1
        else:
            labels.append(data[at + 1 : at + 1 + length].decode("latin-1"))
            at += 1 + length
    raise ValueError("a name that does not end")


def dns_query(ident: int, name: str, qtype: int = 1) -> bytes:
    """A question of class IN, recursion desired."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".") if part)
    return struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", qtype, 1)


# -- one line ------------------------------------------------------------------------------------------------------
def _line(p: Packet) -> str:
    if p.kind == "arp":
        return f"ARP {p.note}"
    if p.kind in ("ether", "ip6"):
        return f"{p.kind} {p.src_mac} -> {p.dst_mac} {p.note}".rstrip()
    if p.kind not in ("tcp", "udp"):
        about = f" ({_line(p.inner)})" if p.inner else ""
        return f"{p.kind.upper()} {p.src} -> {p.dst} {p.note}{about}"
    head = f"{p.kind.upper()} {p.src}:{p.sport} -> {p.dst}:{p.dport}"
    if p.inner is not None:
        return f"VXLAN {p.src} -> {p.dst} vni {p.vni} [{_line(p.inner)}]"
    if p.kind == "tcp":
        return f"{head} {p.flag_names}" + (f" {p.size} bytes{_first_line(p.payload)}" if p.size else "")
    if DNS_PORT in (p.sport, p.dport) and (message := dns(p.payload)):
        return f"DNS {p.src}:{p.sport} -> {p.dst}:{p.dport} {message}"
    return f"{head} {p.size} bytes"


def _first_line(payload: bytes) -> str:
    """HTTP's first line says more than its length."""
    line = payload.split(b"\r\n", 1)[0]
    is_http = line.startswith(b"HTTP/1.") or b" HTTP/1." in line[-10:]
    return f": {line.decode('latin-1')[:60]}" if is_http and line.isascii() else ""
