"""Which packets are ours: the flow of one trace, as a filter for frames and as rules that switch tracing on. Pure.

A flow is known by its source port, fixed before the first packet, and by a DSCP value of the range left to
experiments (RFC 2474 §6, pool 2): that survives address translation, so a node that sees the flow masqueraded still
knows it, and learns the translated port for the answers. Only packets that open or refuse a connection are traced
through the rules: the netfilter's reports of a whole download would not fit any buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...kernel.packet_ring import Instruction

SNAP = 900  # bytes: the largest DNS answer whole
_EXPERIMENTAL = tuple(range(3, 64, 4))
_BEFORE, _AFTER = -310, 310  # earlier than any table of ours, kube-proxy's or iptables'; later than translation

# Behind UDP (8 bytes), VXLAN (8) and Ethernet (14): the inner type of service, source, destination, and both ports.
_WRAPPED_SET = "  set wrapped { typeof @th,368,32 . @th,416,16; flags dynamic; size 64; }\n"
_WRAPPED_RULES = """\
    udp dport 4789 @th,248,8 {tos:#x} add @wrapped {{ @th,336,32 . @th,400,16 }} meta nftrace set 1
    udp dport 4789 @th,368,32 . @th,416,16 @wrapped meta nftrace set 1
"""


@dataclass(frozen=True)
class Flow:
    """One exchange to be recognised everywhere. `protocol` "tcp" or "udp"."""

    protocol: str
    client: str
    port: int
    dscp: int
    payload: bytes = b""
    """Of UDP: what was sent, by which the datagram is known again."""
    is_dns: bool = False


def dscp(number: int) -> int:
    """One of the 16 experimental values."""
    return _EXPERIMENTAL[number % len(_EXPERIMENTAL)]


def tracing_rules(table: str, flow: Flow, bridges: Sequence[str] = (), *, vxlan: bool = False) -> str:
    """A script for nft; with `bridges` (their addresses) also for frames on them, before IP sees them.

    To a bridge's own address come the answers of masqueraded flows: their port is known to the ip table only.
    `vxlan`: also for what this host wraps; the wrapped packet's addresses are read at their fixed offsets.
    """
    ends = f"elements = {{ {flow.client} . {flow.port} }}"
    known = f"set ends {{ type ipv4_addr . inet_service; flags dynamic; size 64; {ends} }}"
    learn = f"ip dscp {flow.dscp} meta l4proto {{ tcp, udp }} add @ends {{ ip saddr . th sport }}"
    text = f"""table ip {table} {{
  flags owner
  {known}
{_WRAPPED_SET if vxlan else ""}  chain watch {{
{_watch("ip saddr . th sport @ends", "ip daddr . th dport @ends", learn)}\
    icmp type {{ destination-unreachable, time-exceeded }} meta nftrace set 1
{_WRAPPED_RULES.format(tos=flow.dscp << 2) if vxlan else ""}  }}
  chain before {{ type filter hook prerouting priority {_BEFORE}; jump watch; }}
  chain own {{ type filter hook output priority {_BEFORE}; jump watch; }}
  chain after {{ type filter hook postrouting priority {_AFTER}; {learn}; }}
}}
"""
    if not bridges:
        return text
    to_bridge = f"ip daddr {{ {', '.join(bridges)} }}"
    return f"""{text}table bridge {table} {{
  flags owner
  {known}
  chain before {{ type filter hook prerouting priority {_BEFORE};
{_watch("ip saddr . th sport @ends", "ip daddr . th dport @ends", to_bridge, family="ether type ip ")}\
  }}
  chain own {{ type filter hook output priority {_BEFORE}; ether type ip {learn}; }}
}}
"""


def _watch(*matches: str, family: str = "") -> str:
    """Of TCP only what opens or refuses a connection."""
    kinds = ("tcp flags & (syn | rst) != 0", "meta l4proto udp")
    return "".join(f"    {family}{kind} {match} meta nftrace set 1\n" for match in matches for kind in kinds)


# -- frames --------------------------------------------------------------------------------------------------------
_LDH, _LDB, _JEQ, _JSET, _RET = 0x28, 0x30, 0x15, 0x45, 0x06
_INNER = 50  # bytes VXLAN puts before the inner frame: Ethernet, IP, UDP and its own header


def frame_filter(flow: Flow) -> list[Instruction]:
    """A classic BPF program: ICMP, TCP that opens or closes or is this flow's, small protocols; also inside VXLAN.

    Everything else (other people's downloads) stays out of the ring.
    """
    program = _Program()
    _frame(program, 0, flow, vxlan=True)
    return program.assembled()


def _frame(program: _Program, base: int, flow: Flow, *, vxlan: bool) -> None:
    """Ends in `keep` or `drop` for the frame whose Ethernet header is at `base`. IP headers without options."""
    at = f"{base}"
    program.load(_LDH, base + 12)
    program.test(_JEQ, 0x0800, "", "drop")
    program.load(_LDB, base + 23)
    program.test(_JEQ, 1, "keep", "")
    program.test(_JEQ, 17, f"udp{at}", "")
    program.test(_JEQ, 6, "", "drop")
    program.load(_LDB, base + 47)
    program.test(_JSET, 0x07, "keep", "")  # FIN, SYN or RST
    program.load(_LDH, base + 34)
    program.test(_JEQ, flow.port, "keep", "")
    program.load(_LDH, base + 36)
    program.test(_JEQ, flow.port, "keep", "drop")
    program.label(f"udp{at}")
    if vxlan:
        program.load(_LDH, base + 36)
        program.test(_JEQ, 4789, "", "keep")
        _frame(program, base + _INNER, flow, vxlan=False)
    else:
        program.jump("keep")


class _Program:
    """Instructions with named jump targets; "" is the next one."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def load(self, code: int, offset: int) -> None:
        self._code.append((code, offset, "", ""))

    def test(self, code: int, value: int, yes: str, no: str) -> None:
        self._code.append((code, value, yes, no))

    def jump(self, to: str) -> None:
        self.test(_JEQ, 0, to, to)

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def assembled(self) -> list[Instruction]:
        labels = {**self._labels, "keep": len(self._code), "drop": len(self._code) + 1}
        code = []
        for here, (operation, value, yes, no) in enumerate(self._code):
            jt, jf = (labels[name] - here - 1 if name else 0 for name in (yes, no))
            code.append((operation, jt, jf, value))
        return [*code, (_RET, 0, 0, SNAP), (_RET, 0, 0, 0)]
