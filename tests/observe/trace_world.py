"""What the trace's tests share: pods to trace between, tcpdump as the independent witness, a trace's bare bones."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from minik8s_net.observe.trace.model import IDLE, Station, Trace
from tests.conftest import Home

SPEC = "{nodeName: %s, terminationGracePeriodSeconds: 0, containers: [{name: c, "
SERVER = SPEC + "image: agnhost, args: [netexec]}]}"
CLIENT = SPEC + "image: busybox, command: [sleep, '9999']}]}"


def pod(name: str, spec: str, node: str) -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {spec % node}\n"


def service(name: str, app: str, extra: str = "", port: str = "{port: 80, targetPort: 8080}") -> str:
    spec = f"{{selector: {{app: {app}}}, ports: [{port}]{extra}}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def policy(name: str, app: str, rest: str) -> str:
    spec = f"{{podSelector: {{matchLabels: {{app: {app}}}}}, {rest}}}"
    return f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"


OBJECTS = "---\n".join(
    [
        pod("client", CLIENT, "node-1"),
        pod("near", SERVER, "node-1"),
        pod("far", SERVER, "node-2"),
        pod("locked", SERVER, "node-2"),
        pod("mute", CLIENT, "node-1"),
        pod("nodns", CLIENT, "node-1"),
        service("near-svc", "near"),
        service("far-svc", "far", ", type: NodePort", "{port: 80, targetPort: 8080, nodePort: 30080}"),
        service("far-headless", "far", ", clusterIP: None"),
        service("empty", "nobody"),
        policy("keep-out", "locked", "policyTypes: [Ingress], ingress: []"),
        policy("stay-in", "mute", "policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]"),
        policy("no-names", "nodns", "policyTypes: [Egress], egress: [{ports: [{port: 8080}]}]"),
    ]
)
PODS = ("client", "near", "far", "locked", "mute", "nodns")
PLACES = ("node-1", "node-2", "fabric", "outside", "pod/client", "pod/near", "pod/far", "pod/locked")


# -- a trace, reduced -------------------------------------------------------------------------------------------------
def bones(trace: Trace) -> list[str]:
    """One line a stay: `default/client > name route interface`, without the rules where nothing matched."""
    told = [s for s in trace.stations if not s.what.endswith(IDLE)]
    lines = []
    for (place, direction), group in itertools.groupby(told, lambda s: (s.place, s.direction)):
        layers = [layer for layer, _ in itertools.groupby(s.layer for s in group)]
        lines.append(f"{place} {'>' if direction == 'out' else '<'} {' '.join(layers)}")
    return lines


def texts(trace: Trace) -> str:
    return "\n".join(f"{s.what}\n{s.detail}" for s in trace.stations)


# -- tcpdump ----------------------------------------------------------------------------------------------------------
WHERE = re.compile(r"(?P<device>\S+)\s+(?P<way>In|Out|P|B|M)\s+IP (?P<ends>[\d.]+ > [\d.]+): ")
LINE = re.compile(
    r"IP (?P<ends>[\d.]+ > [\d.]+): Flags \[(?P<flags>[^]]+)\], (?:seq (?P<seq>\d+), )?(?:ack (?P<ack>\d+), )?"
)
STATION = re.compile(r"([\d.]+):(\d+) -> ([\d.]+):(\d+)")
Sight = tuple[str, str, str]
"""(device, "in" or "out", "ip:port -> ip:port")"""


@dataclass
class Witness:
    """tcpdump in every place, from before the first trace on. `files` by place."""

    files: dict[str, Path] = field(default_factory=dict)

    def sights(self, place: str, first: int, *, back: bool) -> list[Sight]:
        """What tcpdump saw there of the SYN with this sequence number, or of its answer. tcpdump may lag a little.

        What VXLAN carries it prints on a second line, without a device: then the first line's is meant.
        """
        found, where = [], None
        for line in self.files[place].read_text().splitlines():
            where = WHERE.search(line) or where
            m = LINE.search(line)
            if m and where and _is_ours(m, first, back=back):
                way = "out" if where["way"] == "Out" else "in"
                found.append((where["device"], way, _ends(where["ends"])))
        return found

    def first_sequence(self, port: str) -> int | None:
        """The sequence number of the SYN from this source port."""
        for text in (path.read_text() for path in self.files.values()):
            for m in LINE.finditer(text):
                if m["flags"] == "S" and m["ends"].partition(" ")[0].endswith(f".{port}"):
                    return int(m["seq"])
        return None

    def agrees(self, trace: Trace) -> None:
        """Assert: in every namespace the same packets at the same devices, out and back, and no others.

        Not their order between devices of one namespace: tcpdump on "any" does not keep it.
        """
        sent = next(s for s in trace.stations if s.layer == "interface")
        port = sent.detail.partition(" ")[0].rpartition(":")[2]
        refused = any("ICMP" in s.what for s in trace.stations)  # that answer bears no sequence number of its own
        deadline = time.monotonic() + 5
        while (first := self.first_sequence(port)) is None:
            assert time.monotonic() < deadline, f"tcpdump saw no SYN from port {port}"
        for place in self.files:
            for back in (False,) if refused else (False, True):
                told = sorted(sights_of(trace.stations, place, back=back))
                while sorted(self.sights(place, first, back=back)) != told and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert sorted(self.sights(place, first, back=back)) == told, f"{place}, back: {back}"


def _is_ours(m: re.Match[str], first: int, *, back: bool) -> bool:
    if back:
        return m["flags"] in ("S.", "R.") and int(m["ack"] or 0) == (first + 1) % 2**32
    return m["flags"] == "S" and int(m["seq"] or 0) == first


def _ends(text: str) -> str:
    """tcpdump's `10.1.1.1.80 > 10.1.1.2.4000` as ours."""
    return " -> ".join(":".join(end.rsplit(".", 1)) for end in text.split(" > "))


def sights_of(stations: Sequence[Station], place: str, *, back: bool) -> list[Sight]:
    """The same, as the trace tells it."""
    found = []
    for s in stations:
        if s.place == place and (s.direction == "back") == back and s.at_ms is not None and s.layer != "nat":
            ends = STATION.search(s.detail)
            if s.layer == "bridge" and "hands" not in s.what:
                continue  # said of a frame that is told again as its port's
            if ends:
                way = "out" if " sends " in s.what else "in"
                found.append((s.interface, way, f"{ends[1]}:{ends[2]} -> {ends[3]}:{ends[4]}"))
    return found


@contextmanager
def witness(home: Home, cluster: str, folder: Path, places: Sequence[str] = PLACES) -> Iterator[Witness | None]:
    """Ends every tcpdump it started. None where there can be none.

    tcpdump gives its privileges up, which a user namespace of one id refuses: it needs root.
    """
    if os.getuid() != 0 or not shutil.which("tcpdump"):
        yield None
        return
    found, running = Witness(), []
    for place in places:
        path = folder / place.replace("/", "-")
        command = [
            "tcpdump",
            "-Z",
            "root",
            "-i",
            "any",
            "-n",
            "-S",
            "-l",
            "--immediate-mode",
            "tcp or udp port 4789",
        ]
        with open(path, "w") as out, open(f"{path}.err", "w") as err:
            argv = home.command("shell", "--cluster", cluster, place, "--", *command)
            running.append(subprocess.Popen(argv, env=home.env, stdout=out, stderr=err))
        found.files[place.replace("pod/", "default/")] = path
    deadline = time.monotonic() + 30
    while not all("listening on" in Path(f"{path}.err").read_text() for path in found.files.values()):
        assert time.monotonic() < deadline, "tcpdump does not start"
        time.sleep(0.05)
    try:
        yield found
    finally:
        for process in running:
            process.terminate()
            process.wait()
