"""The same as an ordinary user: what needs privileges inside the cluster has them there."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.conftest import Home

from .conftest import OBJECTS

pytestmark = pytest.mark.cluster
NAME = "plain"
KINDS = (
    ["loss", "at=web"],
    ["bandwidth", "at=web"],
    ["delay", "node=node-3"],
    ["mtu", "node=node-2"],
    ["partition", "node=node-1", "peer=node-2"],
    ["dns-dead"],
    ["rule-missing", "service=web", "node=node-2"],
    ["missing-route", "node=node-2", "peer=node-3"],
    ["wrong-gateway", "pod=client"],
)


def test_faults_healing_snapshots_and_counters_as_an_ordinary_user(user_home: Home) -> None:
    def minik8s(command: str, *argv: str, **options: str) -> str:
        return user_home.minik8s(command, "--cluster", NAME, *argv, **options).stdout

    minik8s("up", "--nodes", "3", "-q")
    minik8s("apply", "-f", "-", stdin=yaml.safe_dump_all(OBJECTS))
    for name in ("client", "web"):
        minik8s("wait", f"pod/{name}", "--for", "condition=Ready")
    assert "as it was written" in minik8s("diff")
    minik8s("snapshot", "save", "whole")
    for fault in KINDS:
        minik8s("fault", "inject", *fault)
    told = json.loads(minik8s("fault", "list", "-o", "json"))
    assert [f["name"] for f in told["injected"]] == [fault[0] for fault in KINDS]
    minik8s("delete", "pod", "web")
    minik8s("snapshot", "restore", "whole")
    assert "as it was written" in minik8s("diff")
    assert "No fault is in" in minik8s("fault", "list")
    for node in ("node-1", "node-2", "node-3"):  # a pod that went with its fault has come back without
        assert "fault-" not in minik8s("shell", node, "--", "nft", "list", "tables")
    minik8s("shell", "node-1", "--", "ip", "route", "del", "10.244.2.0/24")
    minik8s("fault", "resume", "all")
    assert "10.244.2.0/24" in minik8s("shell", "node-1", "--", "ip", "route")
    minik8s("exec", "client", "--", "curl", "-s", "-m", "5", "http://web")
    services = {s["name"]: s for s in json.loads(minik8s("top", "-o", "json"))["services"]}
    assert services["web"]["packets"] > 0
