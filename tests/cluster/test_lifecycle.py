"""Up, down, resume, two at once, wrong input: the command as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.boot.record import Record
from minik8s_net.demo.stage import SERVER, TOOLS, pod
from tests.conftest import Home

pytestmark = pytest.mark.cluster


def test_up_is_idempotent_and_down_too(fresh_home: Home) -> None:
    first = fresh_home.minik8s("up", "--cluster", "one", "--nodes", "1")
    assert "is up: 1 nodes" in first.stdout
    again = fresh_home.minik8s("up", "--cluster", "one")
    assert "already running" in again.stdout
    assert [c["name"] for c in fresh_home.json("list")] == ["one"]
    assert all(part["healthy"] for part in fresh_home.json("status", "--cluster", "one")["components"])
    fresh_home.minik8s("down", "--cluster", "one")
    assert "nothing to do" in fresh_home.minik8s("down", "--cluster", "one").stdout


def test_another_shape_needs_down_first(fresh_home: Home) -> None:
    fresh_home.minik8s("up", "--cluster", "one", "--nodes", "1")
    refused = fresh_home.minik8s("up", "--cluster", "one", "--nodes", "3", check=False)
    assert refused.returncode == 1
    assert "already exists with nodes=1" in refused.stderr


def test_kubectl_uses_the_context_and_gets_its_own_back(fresh_home: Home) -> None:
    kube = fresh_home.path / ".kube"
    kube.mkdir()
    own = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "mine",
        "users": [{"name": "me", "user": {}}],
        "clusters": [{"name": "mine", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "mine", "context": {"cluster": "mine", "user": "me"}}],
    }
    (kube / "config").write_text(json.dumps(own))
    fresh_home.minik8s("up", "--cluster", "one", "--nodes", "1")
    assert fresh_home.kubectl("config", "current-context").stdout.strip() == "minik8s-one"
    assert re.search(r"node-1\s+Ready", fresh_home.kubectl("get", "nodes").stdout)
    assert fresh_home.state("one").kubeconfig.stat().st_mode & 0o777 == 0o600
    fresh_home.minik8s("down", "--cluster", "one")
    assert fresh_home.kubectl("config", "current-context").stdout.strip() == "mine"


def test_settings_from_a_file_and_their_name(fresh_home: Home) -> None:
    file = fresh_home.path / "small.yaml"
    file.write_text("{name: small, nodes: 1}")
    assert '"small" is up: 1 nodes' in fresh_home.minik8s("up", "--config", str(file)).stdout
    other = fresh_home.minik8s("up", "--config", str(file), "--cluster", "other").stdout
    assert '"other" is up: 1 nodes' in other
    file.write_text("{name: small, nodes: 2}")
    refused = fresh_home.minik8s("up", "--config", str(file), check=False)
    assert refused.returncode == 1 and "already exists with nodes=1" in refused.stderr


def test_a_damaged_kubectl_configuration_is_left_alone(fresh_home: Home) -> None:
    """Its owner is told, and the cluster comes up and goes all the same."""
    config = fresh_home.path / ".kube" / "config"
    config.parent.mkdir()
    config.write_text("{{{")
    up = fresh_home.minik8s("up", "--cluster", "one", "--nodes", "1")
    assert "line 1: " in up.stderr and f"use KUBECONFIG={fresh_home.state('one').kubeconfig}" in up.stderr
    fresh_home.minik8s("down", "--cluster", "one")
    assert fresh_home.json("list") == [] and config.read_text() == "{{{"


def test_down_withdraws_the_context_from_where_up_wrote_it(fresh_home: Home) -> None:
    elsewhere = fresh_home.path / "elsewhere"
    up = subprocess.run(
        fresh_home.command("up", "--cluster", "one", "--nodes", "1"),
        env={**fresh_home.env, "KUBECONFIG": str(elsewhere)},
        capture_output=True,
        check=True,
    )
    assert b"context minik8s-one" in up.stdout and "minik8s-one" in elsewhere.read_text()
    fresh_home.minik8s("down", "--cluster", "one")
    assert not elsewhere.exists()


def test_two_downs_at_once_both_succeed(fresh_home: Home) -> None:
    fresh_home.minik8s("up", "--cluster", "one", "--nodes", "1")
    downs = [
        subprocess.Popen(fresh_home.command("down", "--cluster", "one"), env=fresh_home.env, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [(down.communicate(timeout=30)[1], down.returncode) for down in downs] == [(b"", 0), (b"", 0)]
    assert fresh_home.json("list") == []


def test_an_interrupted_up_leaves_nothing_and_says_so(fresh_home: Home) -> None:
    up = subprocess.Popen(
        fresh_home.command("up", "--cluster", "one"), env=fresh_home.env, stderr=subprocess.PIPE, text=True
    )
    assert up.stderr is not None
    up.stderr.readline()  # the first step is done
    up.send_signal(signal.SIGINT)
    said = up.stderr.read()
    up.stderr.close()
    assert up.wait(30) == 130 and "interrupted; nothing is left of it, start again with: minik8s up" in said
    assert fresh_home.json("list") == []


def test_traffic_and_objects_survive_a_killed_controller(fresh_home: Home, eventually: Callable[..., Any]) -> None:
    fresh_home.minik8s("up", "--cluster", "k", "--nodes", "2", "--no-heal")
    c = fresh_home.cluster("k")
    c.apply([pod("web", "web", SERVER, "node-2"), pod("client", "client", TOOLS, "node-1")])
    c.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
    )
    for name in ("web", "client"):
        c.wait(f"pod/{name}")
    vip = c.get("service", "web").spec.clusterIP
    eventually(lambda: c.exec("client", f"curl -s -m 1 http://{vip}/hostname").stdout == "web")
    before = {p.metadata.name: (p.status.podIP, p.status.containerStatuses[0].containerID) for p in c.get("pods")}
    ask = ["shell", "--cluster", "k", "pod/client", "--", "curl", "-s", "-m", "1", f"http://{vip}/hostname"]

    os.kill(Record(fresh_home.state("k")).read()["controller"].pid, signal.SIGKILL)
    for _ in range(5):
        assert fresh_home.minik8s(*ask).stdout == "web"
    assert fresh_home.minik8s("get", "pods", "--cluster", "k", check=False).returncode == 1

    fresh_home.minik8s("up", "--cluster", "k")
    c = fresh_home.cluster("k")
    after = {p.metadata.name: (p.status.podIP, p.status.containerStatuses[0].containerID) for p in c.get("pods")}
    assert after == before
    assert fresh_home.minik8s(*ask).stdout == "web"
    assert c.exec("client", "echo back").stdout == "back\n"


@pytest.mark.parametrize("part", ["controller", "runtime"])
def test_a_killed_part_heals(part: str, fresh_home: Home, eventually: Callable[..., Any]) -> None:
    fresh_home.minik8s("up", "--cluster", "h", "--nodes", "1")
    c = fresh_home.cluster("h")
    c.apply(pod("web", "web", SERVER))
    c.wait("pod/web")
    os.kill(Record(fresh_home.state("h")).read()[part].pid, signal.SIGKILL)

    def well() -> bool:
        done = fresh_home.minik8s("exec", "--cluster", "h", "web", "--", "echo", "well", check=False)
        return done.stdout == "well\n"

    eventually(well, seconds=20)
    status = fresh_home.cluster("h").get("pod", "web").status.containerStatuses[0]
    assert status.restartCount == (1 if part == "runtime" else 0)


def test_a_dead_supervisor_is_replaced(fresh_home: Home) -> None:
    fresh_home.minik8s("up", "--cluster", "s", "--nodes", "1")
    before = Record(fresh_home.state("s")).read()
    os.kill(before["supervisor"].pid, signal.SIGKILL)
    fresh_home.minik8s("up", "--cluster", "s")
    after = Record(fresh_home.state("s")).read()
    assert after["supervisor"] != before["supervisor"]
    assert after["supervisor"].alive()
    assert (after["controller"], after["runtime"]) == (before["controller"], before["runtime"])
    assert all(part["healthy"] for part in fresh_home.json("status", "--cluster", "s")["components"])


def test_killed_dns_heals(fresh_home: Home, eventually: Callable[..., Any]) -> None:
    """Both DNS servers are killed at once: names fail, the kubelets start them again, names are back."""
    fresh_home.minik8s("up", "--cluster", "d", "--nodes", "1")
    c = fresh_home.cluster("d")
    c.apply(pod("client", "client", TOOLS))
    c.wait("pod/client")
    names = [p.metadata.name for p in c.get("pods", namespace="kube-system")]
    assert len(names) == 2
    for name in names:
        c.exec(name, ["sh", "-c", "kill -9 -1"], namespace="kube-system")  # all but PID 1, which then ends too

    def restarts() -> list[int]:
        pods = c.get("pods", namespace="kube-system")
        return [p.status.containerStatuses[0].restartCount for p in pods]

    eventually(lambda: restarts() == [1, 1], seconds=20)
    eventually(lambda: "10.96.0.2" in c.exec("client", "getent ahostsv4 kubernetes.default").stdout, seconds=20)


def test_acknowledged_writes_survive_kill(fresh_home: Home) -> None:
    fresh_home.minik8s("up", "--cluster", "w", "--nodes", "1")
    c = fresh_home.cluster("w")
    acknowledged: list[str] = []

    def write() -> None:
        for i in range(2000):
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c-{i}"}, "data": {"i": str(i)}}
            try:
                c.api.request("POST", "/api/v1/namespaces/default/configmaps", obj)
            except Exception:
                return
            acknowledged.append(f"c-{i}")

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 100:
        time.sleep(0.01)
    os.kill(Record(fresh_home.state("w")).read()["controller"].pid, signal.SIGKILL)
    writer.join()
    database = sqlite3.connect(fresh_home.state("w").database)
    database.execute("PRAGMA integrity_check")
    database.close()
    fresh_home.minik8s("up", "--cluster", "w")
    stored = {o.metadata.name for o in fresh_home.cluster("w").get("configmaps")}
    assert set(acknowledged) <= stored


def test_two_clusters_with_the_same_addresses(fresh_home: Home) -> None:
    for name in ("left", "right"):
        fresh_home.minik8s("up", "--cluster", name, "--nodes", "1")
        c = fresh_home.cluster(name)
        c.apply([pod("web", name, SERVER), pod("client", "client", TOOLS)])
        c.wait("pod/web")
        c.wait("pod/client")
    left, right = fresh_home.cluster("left"), fresh_home.cluster("right")
    ips = [c.get("pod", "web").status.podIP for c in (left, right)]
    assert ips[0] == ips[1]
    for c in (left, right):
        c.exec("web", "true")
        assert c.exec("client", f"curl -s http://{ips[0]}:8080/hostname").stdout == "web"
    left.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "only-left"}})
    assert "only-left" not in [o.metadata.name for o in right.get("configmaps")]


def test_rootless_is_the_same(user_home: Home, eventually: Callable[..., Any]) -> None:
    user_home.minik8s("up", "--cluster", "r", "--nodes", "2")
    demo = json.loads(user_home.minik8s("demo", "-o", "json", check=False).stdout)
    assert [entry for entry in demo if not entry["ok"]] == []
    listed = user_home.minik8s("shell", "--cluster", "r", "node-1", "--", "ip", "-o", "address").stdout
    assert "10.244.1.1/24" in listed
    c = user_home.cluster("r")
    c.apply(pod("wants-a-user", "x", TOOLS, securityContext={"runAsUser": 1000}))
    c.wait("pod/wants-a-user")  # there is one id only: it runs, and an event says as whom
    denied = [e for e in c.get("events") if e.reason == "SecurityContextIgnored"]
    assert [e.involvedObject.name for e in denied] == ["wants-a-user"]
    assert "user 1000 cannot be had" in denied[0].message


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: nginx}]}\n"
SVC = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 80}], clusterIP: %s}\n"


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("a: [1, 2\n", "error parsing YAML"),
        ("apiVersion: v1\nkind: Pood\nmetadata: {name: x}\n", 'no matches for kind "Pood"'),
        (POD.replace("image", "imagee"), "imagee"),
        (SVC.replace("80", "99999") % "10.96.0.77", "must be between 1 and 65535"),
        (SVC % "10.96.0.10", "provided IP is already allocated"),
        (SVC % "10.1.2.3", "not in the valid range"),
        ("just text\n", "expected an object"),
        ("kind: Pod\nmetadata: {name: x}\n", "apiVersion not set"),
    ],
)
def test_wrong_manifests_say_so_and_leave_nothing(manifest: str, said: str, shared: Any, home: Home) -> None:
    before = home.minik8s("get", "pods,services", "--cluster", "shared", "-o", "name").stdout
    done = home.minik8s("apply", "--cluster", "shared", "-f", "-", stdin=manifest, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 24
    assert home.minik8s("get", "pods,services", "--cluster", "shared", "-o", "name").stdout == before


def test_missing_iptables_is_one_clear_screen(
    fresh_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minik8s_net.boot import lifecycle
    from minik8s_net.config import ClusterConfig

    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))
    present = shutil.which
    monkeypatch.setattr(lifecycle.shutil, "which", lambda tool: None if tool == "iptables-restore" else present(tool))
    with pytest.raises(lifecycle.StartError, match="sudo apt-get install -y iptables"):
        lifecycle.up(ClusterConfig(name="x"))
    assert not (tmp_path / "state").exists()


def test_no_permission_is_one_clear_screen(user_home: Home) -> None:
    (user_home.path / "state").mkdir(mode=0o500)
    if user_home.uid is not None:
        os.chown(user_home.path / "state", user_home.uid, user_home.uid)
    done = user_home.minik8s("up", "--cluster", "p", check=False)
    assert done.returncode == 1
    assert "MINIK8S_HOME" in done.stderr
    assert "Traceback" not in done.stderr
    (user_home.path / "state").rmdir()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--nodes", "0"], "must be between 1 and 250"),
        (["--cni", "flannel"], 'supported values: "host-gw", "vxlan"'),
        (["--cluster", "No_Such"], "RFC 1123"),
        (["--config", "/nonexistent.yaml"], "No such file"),
        (["--config", "/usr/bin/env"], "not YAML"),
    ],
)
def test_wrong_flags(flags: list[str], said: str, fresh_home: Home) -> None:
    done = fresh_home.minik8s("up", *flags, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert fresh_home.json("list") == []


def test_leaving_a_with_ends_only_what_it_made(fresh_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fresh_home.env.items():
        monkeypatch.setenv(name, value)
    with Cluster.up("mine", nodes=1):
        with Cluster.up("mine") as again:
            assert again.get("node", "node-1").metadata.name == "node-1"
        assert [c["name"] for c in fresh_home.json("list")] == ["mine"]
    assert fresh_home.json("list") == []


def test_flags_may_stand_before_a_command(fresh_home: Home) -> None:
    fresh_home.minik8s("up", "--cluster", "f", "--nodes", "1")
    assert "172.18.1.1" in fresh_home.minik8s("shell", "node-1", "--cluster", "f", "--", "ip", "address").stdout
    refused = fresh_home.minik8s("topology", "--svg", "/nowhere/x.svg", "--cluster", "f", check=False)
    assert refused.returncode == 1 and refused.stderr == "error: /nowhere/x.svg: No such file or directory\n"


def test_an_unwritable_home_is_told_and_does_no_harm(fresh_home: Home) -> None:
    (fresh_home.path / ".kube").write_text("a file where a folder should be")
    up = fresh_home.minik8s("up", "--cluster", "h", "--nodes", "1")
    assert "KUBECONFIG=" in up.stderr


def test_up_puts_back_what_is_missing_of_the_dns_and_says_if_it_does_not_answer(
    fresh_home: Home, eventually: Callable[..., Any]
) -> None:
    fresh_home.minik8s("up", "--cluster", "n", "--nodes", "1")
    c = fresh_home.cluster("n")
    c.delete("service", "kube-dns", "kube-system")
    assert "already running" in fresh_home.minik8s("up", "--cluster", "n").stdout
    assert str(c.get("service", "kube-dns", "kube-system").spec.clusterIP) == "10.96.0.10"
    fresh_home.minik8s("fault", "inject", "dns-dead", "--cluster", "n")
    said = fresh_home.minik8s("up", "--cluster", "n", check=False)
    assert said.returncode == 1
    assert "its DNS does not answer on node-1" in said.stderr
    fresh_home.minik8s("fault", "clear", "--cluster", "n")
    eventually(lambda: fresh_home.minik8s("up", "--cluster", "n", check=False).returncode == 0)
