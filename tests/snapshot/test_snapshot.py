"""Snapshots bring objects, names, addresses and rules back; an export makes the same cluster under another name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.snapshot.document import plain, same
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service
from tests.faults.kernelstate import kernel_state, returns_to

NAME = "rewound"
Table = dict[tuple[str, str], int]
SINK = """
import socket
connection = socket.create_server(("", 9000)).accept()[0]
while connection.recv(65536):
    pass
connection.close()
"""
SOURCE = """
import socket, struct, sys, time
for _ in range(50):
    try:
        connection = socket.create_connection(("sink", 9000))
        break
    except OSError:
        time.sleep(0.1)
connection.sendall(bytes(int(sys.argv[1])))
connection.shutdown(socket.SHUT_WR)
assert connection.recv(1) == b""  # all of it has arrived
print(*struct.unpack_from("QQ", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216), 200))
"""  # of struct tcp_info: bytes sent, and how many of them a second time


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "c", "image": "nginx"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def rewound(home: Home) -> Iterator[Cluster]:
    home.minik8s("up", "--cluster", NAME, "--nodes", "2")
    cluster = home.cluster(NAME)
    cluster.apply([deployment("web", 3), service("web", "web"), service("typo", "web"), policy("web", "web", "client")])
    cluster.apply([pod("client", "node-1", "netshoot", "client"), pod("stranger", "node-2", "netshoot", "stranger")])
    _all_ready(cluster, 5)
    yield cluster
    home.minik8s("down", "--all")


def _all_ready(cluster: Cluster, count: int) -> None:
    for _ in range(400):
        pods = cluster.api.request("GET", "/api/v1/namespaces/default/pods")["items"]
        names = [p["metadata"]["name"] for p in pods]
        if len(names) == count:
            for name in names:
                cluster.wait(f"pod/{name}")
            return
    raise AssertionError(f"{names} are not {count}")


def objects(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """`kind/name` -> uid and address."""
    found = {}
    for kind in ("pods", "services", "serviceaccounts", "configmaps"):
        for one in cluster.api.request("GET", f"/api/v1/namespaces/default/{kind}")["items"]:
            address = (one.get("status") or {}).get("podIP") or (one.get("spec") or {}).get("clusterIP", "")
            found[f"{kind}/{one['metadata']['name']}"] = one["metadata"]["uid"], address
    return found


def truth(cluster: Cluster) -> Table:
    """Who gets an answer from whom: curl's exit status for every pod asking every Service and two pods."""
    table: Table = {}
    for source in ("client", "stranger"):
        for target in ("web", "typo"):
            argv = ["curl", "-s", "-o", "/dev/null", "-m", "2", f"http://{target}"]
            table[source, target] = cluster.exec(source, argv).exit_code
    return table


@pytest.mark.cluster
def test_restore_brings_back_names_uids_addresses_and_rules(rewound: Cluster) -> None:
    assert rewound.diff() == []
    before, kernel, table = objects(rewound), kernel_state(rewound), truth(rewound)
    assert set(table.values()) == {0, 28}  # some may, some may not
    assert rewound.snapshot("one")["pods"] == 7  # two of them DNS
    rewound.delete("deployment", "web")
    rewound.delete("service", "web")
    rewound.delete("networkpolicy", "web")
    rewound.apply([pod("late", "node-1", "nginx", "web"), service("late", "late")])
    rewound.api.request("PATCH", "/api/v1/namespaces/default/services/typo", {"spec": {"selector": {"app": "wbe"}}},
                        content_type="application/merge-patch+json")  # fmt: skip
    rewound.shell("node-1", "ip route del 10.244.2.0/24")
    told = rewound.restore("one")
    assert len(told["revived"]) == 3 and told["removed"] > 0 and told["seconds"] < 15
    assert objects(rewound) == before
    returns_to(rewound, kernel, 15)
    assert truth(rewound) == table
    kept = {k: v for k, v in before.items() if k == "pods/client"}
    assert kept.items() <= objects(rewound).items()
    again = rewound.restore("one")
    assert not again["revived"] and not again["removed"]  # nothing has changed: nothing is done


@pytest.mark.cluster
def test_faults_are_part_of_a_snapshot(rewound: Cluster) -> None:
    rewound.fault("missing-route", node="node-1", peer="node-2")
    rewound.fault("selector-typo", service="typo")
    rewound.snapshot("broken")
    rewound.clear()
    assert rewound.faults() == []
    rewound.restore("broken")
    assert [f["name"] for f in rewound.faults()] == ["missing-route", "selector-typo"]
    assert [d.what for d in rewound.diff()] == ["route 10.244.2.0/24"]
    rewound.restore("one")
    assert rewound.faults() == [] and rewound.diff() == []


@pytest.mark.cluster
def test_export_makes_the_same_cluster_under_another_name(rewound: Cluster, home: Home, tmp_path: Path) -> None:
    rewound.fault("selector-typo", service="typo")
    file = tmp_path / "for-the-teacher.yaml"
    home.minik8s("export", str(file), "--cluster", NAME)
    text = file.read_text()
    assert "resourceVersion" not in text and "managedFields" not in text
    home.minik8s("up", "--cluster", "other", "--from", str(file))
    other = home.cluster("other")
    assert [f["name"] for f in other.faults()] == ["selector-typo"]
    assert truth(other) == truth(rewound)
    assert objects(other)["pods/client"] == objects(rewound)["pods/client"]
    other.clear()
    rewound.clear()
    done = home.minik8s("up", "--cluster", "other", "--from", str(file), check=False)
    assert done.returncode == 1 and "already" in done.stderr
    done = home.minik8s("up", "--cluster", "third", "--from", str(home.state(NAME).config), check=False)
    assert done.returncode == 1 and "no export" in done.stderr


@pytest.mark.cluster
def test_names_that_are_none_and_snapshots_that_are_not_there(rewound: Cluster) -> None:
    with pytest.raises(StatusError, match="there is no snapshot 'never'"):
        rewound.restore("never")
    with pytest.raises(StatusError, match="is no name"):
        rewound.snapshot("../escape")


TCP_IP = 52  # bytes of headers; how many packets it takes depends on how well the kernel puts segments together
ETHERNET = TCP_IP + 14


@pytest.mark.cluster
def test_top_counts_what_was_sent(rewound: Cluster) -> None:
    """A known number of bytes through a Service, within one percent of pods' and Service's counters less headers.

    On a busy machine TCP sends some of it twice; how much is what the sender's kernel says.
    """
    size = 30_000_000
    rewound.apply([pod("sink", "node-2", "netshoot", "sink"), _service("sink", 9000)])
    rewound.wait("pod/sink")
    before = _sent(rewound)
    listening = threading.Thread(target=lambda: rewound.exec("sink", ["python3", "-c", SINK]))
    listening.start()
    sent, twice = map(int, rewound.exec("client", ["python3", "-c", SOURCE, str(size)]).stdout.split())
    listening.join(20)
    assert sent == size + twice
    after = _sent(rewound)
    for what in before:
        assert size <= after[what] - before[what] <= sent * 1.01, f"{what}, {twice} bytes of it sent twice"


def _service(name: str, port: int) -> dict[str, Any]:
    made = service(name, name)
    return {**made, "spec": {**made["spec"], "ports": [{"port": port}]}}


def _sent(cluster: Cluster) -> dict[str, int]:
    told = cluster.top()
    pods = {p["name"]: p for p in told["pods"]}
    services = {s["name"]: s for s in told["services"]}
    out, into, service = pods["client"], pods["sink"], services["sink"]
    return {
        "out": out["txBytes"] - ETHERNET * out["txPackets"],
        "in": into["rxBytes"] - ETHERNET * into["rxPackets"],
        "service": service["bytes"] - TCP_IP * service["packets"],
    }


def test_readable_form_leaves_out_what_the_cluster_says() -> None:
    tree = {
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"},
        "status": {"phase": "Running", "podIP": "1.2.3.4"},
    }
    assert plain(tree) == {"metadata": {"name": "a", "uid": "u"}, "status": {"podIP": "1.2.3.4"}}
    assert same(tree, {**tree, "metadata": {**tree["metadata"], "resourceVersion": "8"}})
