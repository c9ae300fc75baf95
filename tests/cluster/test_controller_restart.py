"""The controller dies and comes back: nothing that it knew of pods, Services and names is unsaid meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.boot.record import Record
from tests.conftest import Home

pytestmark = pytest.mark.cluster
Eventually = Callable[..., Any]
NAME = "again"
PROBE = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("again"))
    home.minik8s("up", "--cluster", NAME, "--nodes", "2")
    cluster = home.cluster(NAME)
    cluster.apply(list(world()))
    for name in ("plain", "probed", "headless"):
        cluster.wait(f"deployment/{name}", "condition=Available")
    cluster.wait("pod/client")
    yield home
    home.minik8s("down", "--all")


def world() -> Iterator[dict[str, Any]]:
    for name in ("plain", "probed", "headless"):
        container: dict[str, Any] = {"name": "web", "image": "nginx"}
        if name == "probed":
            container |= {"readinessProbe": PROBE, "startupProbe": PROBE, "livenessProbe": PROBE}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
        yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        service = {"selector": {"app": name}, "ports": [{"port": 80}]} | (
            {"clusterIP": "None"} if name == "headless" else {}
        )
        yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service}
    client = {"containers": [{"name": "c", "image": "netshoot", "command": ["sleep", "inf"]}]}
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": client}


ASK = """
import socket, sys, time
until, asked, failed = time.monotonic() + 8, 0, []
name = b"".join(bytes([len(part)]) + part.encode() for part in "headless.default.svc.cluster.local".split("."))
question = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\0\\1\\0\\1"

def connect(address):
    with socket.create_connection((address, 80), 0.8):
        pass

def resolve(server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.8)
        client.connect((server, 53))
        client.send(question)
        reply = client.recv(512)
    assert (reply[3] & 15, reply[7]) == (0, 2), f"rcode {reply[3] & 15}, {reply[7]} addresses"

while time.monotonic() < until:
    for what, address in [(connect, a) for a in sys.argv[1:]] + [(resolve, "10.96.0.10")]:
        asked += 1
        try:
            what(address)
        except (OSError, AssertionError) as error:
            failed.append(f"{what.__name__} {address}: {error}")
    time.sleep(0.005)
print(asked, failed)
"""


def test_a_killed_controller_withdraws_no_pod_and_no_name(home: Home, eventually: Eventually) -> None:
    told = _told(home.cluster(NAME))
    vips = [str(home.cluster(NAME).get("service", name).spec.clusterIP) for name in ("plain", "probed")]
    ask = home.command("shell", "--cluster", NAME, "pod/client", "--", "python3", "-c", ASK, *vips)
    with subprocess.Popen(ask, env=home.env, stdout=subprocess.PIPE, text=True) as asking:
        record = Record(home.state(NAME))
        for _ in range(2):
            time.sleep(1)
            before = record.read()["controller"].pid
            os.kill(before, signal.SIGKILL)
            eventually(lambda before=before: _pid(record) not in (0, before), seconds=10)
            eventually(lambda: home.minik8s("get", "nodes", "--cluster", NAME, check=False).returncode == 0)
        asked, _, failed = asking.communicate(timeout=30)[0].partition(" ")
    assert failed.strip() == "[]"
    assert int(asked) > 200
    assert _told(home.cluster(NAME)) == told


def _pid(record: Record) -> int:
    parts = record.read()
    return parts["controller"].pid if "controller" in parts else 0


def _told(cluster: Cluster) -> list[Any]:
    """When each pod became ready, and what each Service's endpoints are, with how often that was changed."""
    pods = cluster.get("pods")
    ready = [(p.metadata.name, c.status, c.lastTransitionTime) for p in pods for c in p.status.conditions]
    slices = [(s.metadata.name, s.metadata.generation, s.endpoints) for s in cluster.get("endpointslices")]
    return [ready, slices]
