"""The pcap file format, as tcpdump and Wireshark read it (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05).

With nanosecond time stamps, link type Ethernet. Pure.
"""

from __future__ import annotations

import struct

from ..kernel.packet_ring import Frame

_MAGIC_NANOSECONDS, _ETHERNET, SNAP = 0xA1B23C4D, 1, 65535


def head() -> bytes:
    """What a file begins with."""
    return struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, SNAP, _ETHERNET)


def record(frame: Frame) -> bytes:
    """One frame."""
    seconds, nanoseconds = divmod(frame.at_ns, 1_000_000_000)
    return struct.pack("<IIII", seconds, nanoseconds, len(frame.data), frame.length) + frame.data
