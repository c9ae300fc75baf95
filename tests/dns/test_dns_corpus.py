"""Every packet that coverage-guided fuzzing ever kept (benchmarks/fuzz_dns.py), and what its findings were."""

from __future__ import annotations

from pathlib import Path

from dns_fuzz import Target, seeds
from test_dns_wire import QUERY, exchange, listener

from minik8s_net.dns.manifests import COREFILE

CORPUS = Path(__file__).parent / "corpus.txt"


def test_the_corpus() -> None:
    target, packets = Target(), [bytes.fromhex(line) for line in CORPUS.read_text().split()]
    assert len(packets) > 50
    for packet in [*packets, *seeds()]:
        target.one(packet)


def test_no_name_forges_a_line_of_the_log() -> None:
    lines: list[str] = []
    server = listener(corefile=COREFILE.replace("errors", "log"))
    server.log_line = lines.append
    exchange(server, QUERY[:12] + b'\x0bx\n[INFO] "y\0\0\1\0\1')
    (line,) = lines
    assert r"x\010[info]\032\034y. udp" in line and "\n" not in line
