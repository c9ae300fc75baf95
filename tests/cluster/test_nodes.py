"""A node that leaves takes its pods with it: processes, namespaces, addresses, folders. Also if the controller dies."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node

from minik8s_net import Cluster
from minik8s_net.apiserver.registry import Registry
from minik8s_net.boot.record import Record
from minik8s_net.config import ClusterConfig
from minik8s_net.demo.stage import TOOLS, pod
from minik8s_net.store.store import Store
from tests.conftest import Home

pytestmark = pytest.mark.cluster
NAME = "leave"
DEAF = {**TOOLS, "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]}


def set_of_one() -> dict[str, Any]:
    """A StatefulSet whose pod ignores TERM, on node-2 as long as there is one."""
    prefer = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]}
    affinity = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": prefer}]}
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [DEAF], "affinity": {"nodeAffinity": affinity}},
    }
    spec = {"serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}


def uid_on_node_2(c: Cluster, home: Home, eventually: Callable[..., Any]) -> str:
    """Of the set's pod, once it runs there."""
    eventually(lambda: [p for p in c.get("pods") if p.metadata.name == "db-0" and p.spec.nodeName == "node-2"], 40)
    c.wait("pod/db-0")
    uid = str(c.get("pod", "db-0").metadata.uid)
    assert (home.state(NAME).pods / uid).exists()
    return uid


def processes(uid: str) -> list[str]:
    """Those whose files are of the pod: its /etc/hosts is mounted where they live."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if uid in (process / "mountinfo").read_text():
                    found.append(process.name)
    return found


def test_a_node_takes_its_pods_with_it(fresh_home: Home, eventually: Callable[..., Any]) -> None:
    fresh_home.minik8s("up", "--cluster", NAME, "--nodes", "2")
    c, state = fresh_home.cluster(NAME), fresh_home.state(NAME)
    c.apply([set_of_one(), pod("hosted", "hosted", DEAF, "node-2", hostNetwork=True)])
    c.wait("pod/hosted")
    uid = uid_on_node_2(c, fresh_home, eventually)
    gone = [uid, str(c.get("pod", "hosted").metadata.uid)]
    assert all(processes(each) for each in gone)

    fresh_home.minik8s("node", "rm", "node-2", "--cluster", NAME)
    eventually(lambda: not any(processes(each) or (state.pods / each).exists() for each in gone))
    eventually(lambda: [p.name for p in (state.ipam / "node-2").iterdir() if p.name[0].isdigit()] == [])
    eventually(lambda: c.get("pods") and c.get("pod", "db-0").spec.nodeName == "node-1", 40)
    c.wait("pod/db-0")  # moved, and what is asked of its name is asked of the new one
    assert f" {c.get('pod', 'db-0').status.podIP}/24" in c.shell("db-0", "ip -br address").stdout
    assert c.trace("db-0", "svc/kubernetes").delivered

    # once more, and the controller is killed when the Node is gone but nothing else
    fresh_home.minik8s("node", "add", "node-2", "--cluster", NAME)
    c.api.request("DELETE", "/api/v1/namespaces/default/pods/db-0", {"gracePeriodSeconds": 0})
    uid = uid_on_node_2(c, fresh_home, eventually)
    record = Record(state).read()
    for part in ("supervisor", "controller"):
        os.kill(record[part].pid, signal.SIGKILL)
    eventually(lambda: not record["controller"].alive())
    store = Store(state.database)
    Registry(store, ClusterConfig(name=NAME)).delete(Node, "node-2")
    store.close()
    (state.pods / "of-nobody").mkdir()
    assert processes(uid)

    fresh_home.minik8s("up", "--cluster", NAME)
    c = fresh_home.cluster(NAME)
    assert not processes(uid)
    assert not (state.pods / uid).exists()
    assert not (state.pods / "of-nobody").exists()
    assert [p.name for p in (state.ipam / "node-2").iterdir() if p.name[0].isdigit()] == []
    assert 'no namespace "node-2"' in fresh_home.minik8s("shell", "node-2", "--cluster", NAME, check=False).stderr
    assert "node-2" not in c.shell("fabric", "ip -br link").stdout
    c.wait("pod/db-0")
    assert c.get("pod", "db-0").spec.nodeName == "node-1"


@pytest.fixture(scope="module")
def third(home: Home) -> Iterator[Cluster]:
    """Three nodes, of which the third comes and goes."""
    home.minik8s("up", "--cluster", "third", "--nodes", "3")
    yield home.cluster("third")
    home.minik8s("down", "--cluster", "third")


FAULTS = {
    "delay": {"node": "node-3"}, "mtu": {"node": "node-3"}, "forwarding-off": {"node": "node-3"},
    "missing-route": {"node": "node-1", "peer": "node-3"}, "partition": {"node": "node-1", "peer": "node-3"},
    "node-lost": {"node": "node-3"}, "loss": {"at": "node-3"}, "bandwidth": {"at": "node-3"},
    "proxy-stopped": {"node": "node-3"},
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_node_that_leaves_hangs_nobody(
    name: str, third: Cluster, home: Home, eventually: Callable[..., Any]
) -> None:
    third.fault(name, **FAULTS[name])
    home.minik8s("node", "rm", "node-3", "--cluster", "third")
    third.shell("node-1", "sysctl -qw net.ipv4.ip_forward=0")
    eventually(lambda: third.shell("node-1", "sysctl -n net.ipv4.ip_forward").stdout == "1\n", 20)  # healing goes on
    assert [fault["name"] for fault in third.clear()] == [name]
    home.minik8s("node", "add", "node-3", "--cluster", "third")
    eventually(lambda: third.diff() == [], 20)


def test_a_node_that_came_back_is_watched_like_any(third: Cluster, home: Home, eventually: Callable[..., Any]) -> None:
    for verb in ("rm", "add"):
        home.minik8s("node", verb, "node-3", "--cluster", "third")
    eventually(lambda: third.diff() == [], 20)
    time.sleep(2)  # nothing is left to be looked at
    for _ in range(3):  # each noticed at once, not when all places have been swept
        third.shell("node-3", "ip route del 10.244.1.0/24")
        assert eventually(lambda: "10.244.1.0/24" in third.shell("node-3", "ip route").stdout, 3)


def test_a_node_that_is_none_of_ours_stays_a_name(third: Cluster, home: Home) -> None:
    """Kept, NotReady, like a machine that never joined; the next controller does not wait for it."""
    api = third.api
    api.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "laptop"}})
    os.kill(Record(home.state("third")).read()["controller"].pid, signal.SIGKILL)
    home.minik8s("up", "--cluster", "third")
    ready = {}
    for node in home.cluster("third").get("nodes"):
        conditions = (node.status.conditions if node.status else None) or ()
        ready[node.metadata.name] = any(c.type == "Ready" and c.status == "True" for c in conditions)
    assert ready == {"laptop": False, "node-1": True, "node-2": True, "node-3": True}
    home.cluster("third").delete("node", "laptop")
