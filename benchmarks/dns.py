"""Queries per second, latency and memory: our DNS server beside dnsmasq, same names, same client, same run.

    python benchmarks/dns.py [--records 10000] [--seconds 3] [--rounds 5]

Needs dnsmasq and dnsperf (Debian: dnsmasq-base, dnsperf). All traffic is on the loopback of a network namespace that
the benchmark makes for itself. Prints JSON; exit status 1 if we are slower than dnsmasq, p99 is worse than twice
dnsmasq's, or memory is above 60 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TextIO

INSIDE = "MINIK8S_BENCHMARK_INSIDE"
PORTS = {"minik8s": 5301, "dnsmasq": 5302}
MEMORY_LIMIT_MB = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5, help="of each server in turn; medians are compared")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.records))
        return 0
    for tool, package in (("dnsmasq", "dnsmasq-base"), ("dnsperf", "dnsperf"), ("unshare", "util-linux")):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install {package}", file=sys.stderr)
            return 2
    if INSIDE not in os.environ:
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        os.environ.update({INSIDE: "1", "PYTHONPATH": path})
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        report = compare(Path(folder), options)
    print(json.dumps(report, indent=2))
    return 0 if all(report["ok"].values()) else 1


async def serve(records: int) -> None:
    """Our server with the records of `records` / 2 Services (each an A and a PTR)."""
    from minik8s_net.dns.config import parse
    from minik8s_net.dns.listener import Listener
    from minik8s_net.dns.manifests import COREFILE, ROOT_ZONE
    from minik8s_net.dns.records import ClusterNames

    cluster = ClusterNames()
    cluster.apply("Namespace", {"metadata": {"name": "default"}})
    for name, ip in services(records):
        ports = [{"port": 80, "protocol": "TCP"}]
        meta = {"name": name, "namespace": "default"}
        cluster.apply("Service", {"metadata": meta, "spec": {"clusterIP": ip, "ports": ports}})
    config = parse(COREFILE, {"db.root": ROOT_ZONE})
    for block in config.blocks:
        block.serve(cluster, 1, synced=True)
    await Listener(config).listen("127.0.0.1", PORTS["minik8s"])
    await asyncio.Event().wait()


def services(records: int) -> list[tuple[str, str]]:
    return [(f"service-{i}", f"10.96.{i // 250}.{i % 250 + 1}") for i in range(records // 2)]


def compare(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    names = [(f"{name}.default.svc.cluster.local", ip) for name, ip in services(options.records)]
    (folder / "hosts").write_text("".join(f"{ip} {name}\n" for name, ip in names))
    (folder / "queries").write_text("".join(f"{name} A\n" for name, _ in names))
    commands = {
        "minik8s": [sys.executable, __file__, "--serve", "--records", str(options.records)],
        "dnsmasq": ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                    f"--addn-hosts={folder}/hosts", f"--port={PORTS['dnsmasq']}", "--listen-address=127.0.0.1",
                    "--bind-interfaces", "--cache-size=10000", "--user=", "--group=", "--pid-file="],
    }  # fmt: skip
    queries = folder / "queries"
    with ExitStack() as stack:
        servers = {}
        for who, command in commands.items():
            log = stack.enter_context((folder / f"{who}.log").open("w"))
            servers[who] = stack.enter_context(running(command, log))
            wait_for(PORTS[who], names[0][0], servers[who], folder / f"{who}.log")
            load(servers[who], PORTS[who], queries, 1)  # warm: the first answer to each name is not what is measured
        rounds = [
            {who: load(servers[who], PORTS[who], queries, options.seconds) for who in servers}
            for _ in range(options.rounds)
        ]
        found = {
            who: {key: median([round_[who][key] for round_ in rounds]) for key in rounds[0][who]}
            | latency(PORTS[who], queries, names[0][0], options.seconds)
            | {"memory_mb": rss_mb(servers[who].pid)}
            for who in servers
        }
    ours, theirs = found["minik8s"], found["dnsmasq"]
    ratios = [r["minik8s"]["queries_per_second"] / r["dnsmasq"]["queries_per_second"] for r in rounds]
    p99_ratio = round(ours["p99_ms"] / theirs["p99_ms"], 2)
    return {
        **found,
        "ratio": round(median(ratios), 2),
        "ratio_of_each_round": [round(ratio, 2) for ratio in ratios],
        "p99_ratio": p99_ratio,
        "ok": {
            "queries": median(ratios) >= 1,
            "p99": p99_ratio <= 2,
            "memory": ours["memory_mb"] < MEMORY_LIMIT_MB,
            "lost": ours["lost"] == 0,
        },
    }


@contextmanager
def running(command: list[str], log: TextIO) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def dnsperf(port: int, queries: Path, seconds: int, *more: str) -> subprocess.Popen[str]:
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-l", str(seconds), "-c", "4"]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)


def load(server: subprocess.Popen[bytes], port: int, queries: Path, seconds: int) -> dict[str, float]:
    """As many queries as go; and the processor time of the server for each, as the client may be what is slowest."""
    before = cpu_seconds(server.pid)
    out = dnsperf(port, queries, seconds).communicate()[0]
    spent = cpu_seconds(server.pid) - before
    rate = float(re.search(r"Queries per second:\s+([\d.]+)", out)[1])
    completed = int(re.search(r"Queries completed:\s+(\d+)", out)[1])
    return {
        "queries_per_second": round(rate),
        "cpu_us_per_query": round(spent / completed * 1e6, 2),
        "lost": int(re.search(r"Queries lost:\s+(\d+)", out)[1]),
    }


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def latency(port: int, queries: Path, name: str, seconds: int) -> dict[str, float]:
    """Round trips (ms) of single queries while dnsperf asks 10 000 others a second."""
    question = ask(name)
    background = dnsperf(port, queries, seconds, "-Q", "10000")
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(1)
        probe.connect(("127.0.0.1", port))
        while background.poll() is None:
            began = time.perf_counter()
            probe.send(question)
            probe.recv(512)
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(0.0005)
    background.communicate()
    took.sort()
    return {"p50_ms": round(took[len(took) // 2], 3), "p99_ms": round(took[len(took) * 99 // 100], 3)}


def ask(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\0\7\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def wait_for(port: int, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        while process.poll() is None and time.monotonic() < deadline:
            try:
                probe.sendto(ask(name), ("127.0.0.1", port))
                if probe.recv(512)[3] & 15 == 0:
                    return
            except OSError:
                time.sleep(0.02)
    raise SystemExit(f"no answer on port {port}:\n{log.read_text()}")


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024, 1)


if __name__ == "__main__":
    sys.exit(main())
