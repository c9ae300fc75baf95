"""The SVG: everything is in it, nothing overlaps, and a trace runs where the packet went. Real Chromium draws it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from minik8s_net.observe.picture.layout import Box, lay_out
from minik8s_net.observe.picture.way import places, points
from minik8s_net.observe.topology import NodeView, PodView, PolicyView, ServiceView, Topology
from minik8s_net.observe.trace.model import Station, Trace
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service

ISOLATED: tuple[list[str], list[str]] = ([], ["Ingress"])
SVG = "{http://www.w3.org/2000/svg}"


def cluster(nodes: int, each: int) -> Topology:
    def views_of(node: int) -> list[PodView]:
        return [
            PodView("default", f"pod-{node}-{j}", f"10.244.{node}.{j + 2}", "Running", True, {}, ISOLATED[j == 1])
            for j in range(each)
        ]

    views = [NodeView(f"node-{i}", f"172.18.1.{i}", f"10.244.{i}.0/24", True, views_of(i)) for i in range(1, nodes + 1)]
    services = [ServiceView("default", "web", "ClusterIP", "10.96.0.9", ["80/TCP"], ["10.244.1.2", "10.244.2.3"])]
    return Topology("drawn", views, services, [PolicyView("default", "walls", ["Ingress"], ["default/pod-1-1"])])


def trace(*way: str, back: tuple[str, ...] = (), verdict: str = "delivered") -> Trace:
    both = [("out", place) for place in way] + [("back", place) for place in back]
    stations = [Station(i, direction, place, "interface", "seen") for i, (direction, place) in enumerate(both)]
    return Trace(way[0], "http://web", verdict, stations, because="<why> & how")


@pytest.mark.parametrize(("nodes", "each"), [(1, 0), (2, 3), (5, 30)])
def test_everything_is_drawn_and_nothing_overlaps(nodes: int, each: int) -> None:
    topology = cluster(nodes, each)
    root = ET.fromstring(topology.svg())
    named = {g.get("data-pod") for g in root.iter(f"{SVG}g")} - {None}
    assert named == {f"default/{p.name}" for n in topology.nodes for p in n.pods}
    assert len(named) == nodes * each
    at = lay_out(topology)
    for boxes in (at.nodes, at.pods, {**at.services, **at.policies, **at.nodes}):
        for (a, one), (b, other) in combinations(boxes.items(), 2):
            assert not _overlap(one, other), f"{a} lies over {b}"
    for name, box in at.pods.items():
        assert _inside(box, at.nodes[at.pod_node[name]])
    assert all(box.x + box.w <= at.width and box.y + box.h <= at.height for box in (*at.nodes.values(), at.fabric))


def test_a_way_crosses_what_the_packet_crossed() -> None:
    at = lay_out(cluster(2, 3))
    found = trace("default/pod-1-0", "node-1", "fabric", "node-2", "default/pod-2-1")
    way = points(at, places(found, "out"))
    start, end = at.pods["default/pod-1-0"], at.pods["default/pod-2-1"]
    assert way[0] == (start.x, start.y + 23) and way[-1] == (end.x, end.y + 23)
    assert (at.nodes["node-1"].middle, at.wire_y) in way and (at.nodes["node-2"].middle, at.wire_y) in way
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(way)), "only straight corners"
    near = points(at, places(trace("default/pod-1-0", "node-1", "default/pod-1-2"), "out"))
    assert all(y > at.wire_y for _, y in near), "a packet that stays on its node never meets the fabric"
    stopped = points(at, places(trace("default/pod-1-0", "node-1", "fabric", "node-2"), "out"))
    assert stopped[-1] == (at.nodes["node-2"].middle, at.bridge_y("node-2"))
    outside = points(at, places(trace("outside", "fabric", "node-1", "default/pod-1-0"), "out"))
    assert outside[0][1] == at.wire_y and outside[-1] == (start.x, start.y + 23)
    assert points(at, ["default/gone"]) == []


def test_how_it_ended_is_said_and_shown() -> None:
    topology = cluster(2, 3)
    whole = trace("default/pod-1-0", "node-1", "default/pod-1-1", back=("node-1", "default/pod-1-0"))
    ok, bad = topology.svg(whole), topology.svg(trace("default/pod-1-0", "node-1", verdict="dropped"))
    assert "✓" in ok and 'class="back"' in ok and ok.count("<animateMotion") == 2
    assert "✗" in bad and 'class="back"' not in bad and "&lt;why&gt; &amp; how" in bad
    for picture in (ok, bad):
        ET.fromstring(picture)
    assert "data-trace" not in topology.svg()


@pytest.mark.cluster
def test_a_live_cluster_with_a_trace_in_a_real_browser(home: Home, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("NO PICTURE WAS DRAWN: there is no chromium here (scripts/setup installs it)")
    home.minik8s("up", "--cluster", "drawn", "--nodes", "2")
    try:
        live = home.cluster("drawn")
        live.apply([pod("client", "node-1", "netshoot", "client"), pod("web", "node-2", "nginx", "web"),
                    service("web", "web"), policy("walls", "web", "client")])  # fmt: skip
        live.wait("pod/client")
        live.wait("pod/web")
        file = tmp_path / "traced.svg"
        home.minik8s("topology", "--cluster", "drawn", "--svg", str(file), "--trace", "client", "http://web")
        refused = home.minik8s("topology", "--cluster", "drawn", "--trace", "client", "http://web", check=False)
        assert refused.returncode == 1 and "--svg FILE" in refused.stderr
    finally:
        home.minik8s("down", "--cluster", "drawn")
    text = file.read_text()
    assert 'class="service asked"' in text and "http://web: delivered" in text and 'data-policy="default/walls"' in text
    picture = tmp_path / "traced.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,600", f"--screenshot={picture}"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([chromium, *flags, str(file)], env=environment, capture_output=True, timeout=60, check=True)
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (1200, 600) and picture.stat().st_size > 20_000, "an empty picture is smaller"


def _overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h


def _inside(a: Box, b: Box) -> bool:
    return b.x <= a.x and b.y <= a.y and a.x + a.w <= b.x + b.w and a.y + a.h <= b.y + b.h
