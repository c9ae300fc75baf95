"""Captures: live lines, bounds, filters, and pcap files that tcpdump reads the same."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.observe.decode import Packet
from minik8s_net.observe.packet_filter import parse
from tests.conftest import Home

needs_tcpdump = pytest.mark.skipif(not shutil.which("tcpdump"), reason="needs tcpdump: apt-get install tcpdump")
WEB = """
apiVersion: v1
kind: Pod
metadata: {name: cap-web, labels: {app: cap-web}}
spec: {nodeName: node-2, terminationGracePeriodSeconds: 0, containers: [{name: c, image: agnhost, args: [netexec]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cap-me}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: busybox, command: [sleep, "9999"]}]
"""
TCP = Packet("tcp", src="10.0.0.1", dst="10.0.0.2", sport=4000, dport=80, flags=2)
DNS = Packet("udp", src="10.0.0.1", dst="10.0.0.3", sport=4000, dport=53)
WRAPPED = Packet("udp", src="172.18.1.1", dst="172.18.1.2", sport=9, dport=4789, vni=1, inner=TCP)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", [TCP, DNS, WRAPPED]),
        ("tcp", [TCP, WRAPPED]),
        ("tcp port 80 and not host 10.0.0.9", [TCP, WRAPPED]),
        ("dns or vxlan", [DNS, WRAPPED]),
        ("src 10.0.0.1 dst 10.0.0.3", [DNS]),
        ("udp not dns", [WRAPPED]),
        ("icmp or arp", []),
    ],
)
def test_filters(words: str, wanted: list[Packet]) -> None:
    match = parse(words)
    assert [p for p in (TCP, DNS, WRAPPED) if match(p)] == wanted


@pytest.mark.parametrize("words", ["foo", "port", "port x", "host web", "or tcp", "not"])
def test_no_filters(words: str) -> None:
    with pytest.raises(StatusError, match=r"a filter is made of|something is missing"):
        parse(words)


@pytest.fixture(scope="module")
def pods(shared: Cluster) -> Cluster:
    shared.apply(WEB)
    for name in ("cap-web", "cap-me"):
        shared.wait(f"pod/{name}")
    return shared


@needs_tcpdump
@pytest.mark.cluster
def test_a_capture_and_its_pcap_file(pods: Cluster, tmp_path: Path) -> None:
    ip = pods.get("pod", "cap-web").status.podIP
    with pods.capture("cap-me", "tcp port 8080") as seen:
        assert "NOW" in pods.exec("cap-me", f"curl -s http://{ip}:8080/").stdout
    assert seen.devices == ["eth0", "lo"]
    assert [p.flags for p in seen][:3] == ["SYN", "SYN/ACK", "ACK"]
    assert [p.direction for p in seen][:3] == ["out", "in", "out"]
    assert "GET / HTTP/1.1" in str(seen)
    assert seen.lost == 0
    file = seen.save(tmp_path / "x.pcap")
    read = subprocess.run(["tcpdump", "-nr", file], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(read) == len(seen)
    assert f"> {ip}.8080: Flags [S]" in read[0]


@needs_tcpdump
@pytest.mark.cluster
def test_the_command_and_its_bounds(pods: Cluster, home: Home, tmp_path: Path) -> None:
    ip = pods.get("pod", "cap-web").status.podIP
    file = tmp_path / "y.pcap"
    argv = home.command(
        "capture",
        "--cluster",
        "shared",
        "node-2",
        "-f",
        f"host {ip} syn",
        "-i",
        "eth0",
        "--count",
        "2",
        "-w",
        str(file),
    )
    running = subprocess.Popen(argv, env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert "listening in node-2 on eth0" in running.stderr.readline()
    pods.exec("cap-me", f"curl -s http://{ip}:8080/")
    out, _ = running.communicate(timeout=30)
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(f"-> {ip}:8080 SYN")
    assert lines[1].endswith(" SYN/ACK")
    assert len(subprocess.run(["tcpdump", "-nr", file], capture_output=True, text=True).stdout.splitlines()) == 2
    assert home.minik8s("capture", "--cluster", "shared", "fabric", "-f", "icmp", "--seconds", "0.2").stdout == ""


@pytest.mark.cluster
def test_what_cannot_be_captured(pods: Cluster) -> None:
    with pytest.raises(StatusError, match="has no device 'eth7'; there are: eth0, lo"):
        pods.capture("cap-me", interface="eth7")
    with pytest.raises(StatusError, match='pods "ghost" not found'):
        pods.capture("ghost")
    with pytest.raises(StatusError, match="seconds: -1 is not a number"):
        pods.capture("cap-me", seconds=-1)
    with pytest.raises(StatusError, match="count: 0 is not a number above 0"):
        pods.capture("cap-me", count=0, seconds=5)
    with pytest.raises(StatusError, match="seconds: 0 is not a number above 0"):
        pods.trace("cap-me", "dns:kubernetes", seconds=0)


@pytest.mark.cluster
def test_a_file_that_cannot_be_written_is_told_at_once(pods: Cluster, home: Home) -> None:
    argv = ("capture", "--cluster", "shared", "cap-me", "--seconds", "60", "-w", "/nope/x.pcap")
    began = time.monotonic()
    assert home.minik8s(*argv, check=False).stderr == "error: /nope/x.pcap: No such file or directory\n"
    assert time.monotonic() - began < 30
