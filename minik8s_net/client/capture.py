"""A capture that runs in the background: started, stopped, printed, saved (`Cluster.capture`)."""

from __future__ import annotations

import base64
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .http import Api

Json = dict[str, Any]


@dataclass(frozen=True)
class Captured:
    """One packet at one device. `frame`: its bytes, from Ethernet's header on, at most 1968 of `length`."""

    at_ns: int
    device: str
    direction: str
    length: int
    kind: str
    src: str
    sport: int
    dst: str
    dport: int
    flags: str
    text: str
    frame: bytes

    @classmethod
    def of(cls, line: Json) -> Captured:
        """From the verb's JSON."""
        return cls(**{**line, "frame": base64.b64decode(line["frame"])})

    def __str__(self) -> str:
        seconds, rest = divmod(self.at_ns, 1_000_000_000)
        clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06}"
        return f"{clock} {self.device:<12} {self.direction:<3} {self.text}"


class Capture:
    """Packets so far in `packets`. Prints as lines; `save` writes a pcap file. Ends by itself (see `wait`)."""

    def __init__(self, api: Api, asked: Json) -> None:
        """Returns once everything from now on is recorded. Raises StatusError for a place, device or filter."""
        self.packets: list[Captured] = []
        self.lost = 0
        """Packets that came too fast and are missing."""
        self._api, self._id = api, uuid.uuid4().hex
        lines = api.follow("capture", **asked, id=self._id)
        self.devices: list[str] = next(lines)["devices"]
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterator[Json]) -> None:
        for line in lines:
            if "frame" in line:
                self.packets.append(Captured.of(line))
            else:
                self.lost = line["lost"]

    def stop(self) -> Capture:
        """End it now; what has passed until now is in `packets` afterwards."""
        if self._thread.is_alive():
            self._api.verb("capture-stop", id=self._id)
        return self.wait()

    def wait(self) -> Capture:
        """Until it ends by its own count or seconds."""
        self._thread.join()
        return self

    def save(self, path: str | Path) -> Path:
        """Write a pcap file: Wireshark and `tcpdump -r` read it."""
        from ..kernel.packet_ring import Frame
        from ..observe import pcap

        frames = (Frame(p.at_ns, 0, False, False, p.length, p.frame) for p in list(self.packets))
        Path(path).write_bytes(pcap.head() + b"".join(pcap.record(frame) for frame in frames))
        return Path(path)

    def __len__(self) -> int:
        return len(self.packets)

    def __iter__(self) -> Iterator[Captured]:
        return iter(list(self.packets))

    def __str__(self) -> str:
        lost = [f"({self.lost} packets came too fast and are missing)"] if self.lost else []
        return "\n".join([*map(str, list(self.packets)), *lost])

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.stop()
