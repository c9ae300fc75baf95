"""`python -m minik8s_net.dns` as a pod runs it: environment, service account, port 53, TERM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import asyncio, ctypes, json, os, signal, subprocess, sys, time, urllib.request
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from dns_objects import config_map, namespace, service
from minik8s_net.dns.manifests import COREFILE, ROOT_ZONE
from dns_peer import Peer
import dns.asyncquery, dns.message
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.realpath("/var/run")], check=True)
folder = Path("/var/run/secrets/kubernetes.io/serviceaccount")
folder.mkdir(parents=True)

async def main():
    peer = Peer(folder)
    await peer.put(namespace("testns"))
    await peer.put(config_map(COREFILE.replace("lameduck 5s", "lameduck 400ms"), **{"db.root": ROOT_ZONE}))
    for i in range(int(sys.argv[2])):
        await peer.put(service(f"web-{i}", f"10.96.{1 + i // 250}.{i % 250 + 1}"))
    await peer.start()
    env = {**os.environ, "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(peer.port)}
    began = time.perf_counter()
    die_with_us = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives the test
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "minik8s_net.dns", env=env, preexec_fn=die_with_us
    )
    def ready():
        try:
            with urllib.request.urlopen("http://127.0.0.1:8181/ready") as reply:
                return reply.status == 200
        except OSError:
            return False
    while not await asyncio.to_thread(ready):
        assert process.returncode is None and time.perf_counter() - began < 20
        await asyncio.sleep(0.002)
    took = time.perf_counter() - began
    query = dns.message.make_query("web-0.testns.svc.cluster.local", "A")
    reply = await dns.asyncquery.udp(query, "127.0.0.1", timeout=2)
    rss = next(int(l.split()[1]) for l in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmRSS" in l)
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.1)
    late = await dns.asyncquery.udp(query, "127.0.0.1", timeout=2)
    assert late.answer == reply.answer and not ready(), "leaving: still answers, and says not to come"
    code = await process.wait()
    ended = time.perf_counter() - began
    await peer.stop()
    print(json.dumps([reply.answer[0][0].address, took, rss // 1024, code, ended]))

asyncio.run(main())
"""


@pytest.mark.netns
@pytest.mark.parametrize("services", [1, 5000])
def test_process(services: int) -> None:
    command = ["unshare", "-Urnm", sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(services)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    print(done.stdout, done.stderr)
    address, took, megabytes, code, ended = json.loads(done.stdout)
    assert address == "10.96.1.1"
    assert code == 0
    assert 0.4 <= ended < 1
    assert megabytes < 60
    assert took < 5
