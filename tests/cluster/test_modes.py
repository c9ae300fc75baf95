"""Every way to wire nodes and to make Services: the same lab, node ports from outside, nodes that come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minik8s_net.lab.labs import find
from tests.conftest import Home

pytestmark = pytest.mark.cluster
NODE_PORT = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "entrance"},
    "spec": {
        "type": "NodePort",
        "selector": {"app": "shop"},
        "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
    },
}


@pytest.mark.parametrize(
    "flags", [[], ["--cni", "vxlan"], ["--proxy-mode", "nftables"]], ids=lambda f: "-".join(f) or "default"
)
def test_a_cluster_in_each_mode(flags: list[str], fresh_home: Home, eventually: Callable[..., Any]) -> None:
    fresh_home.minik8s("up", "--cluster", "m", "--nodes", "2", *flags)
    c = fresh_home.cluster("m")
    lab = find("6")
    lab.start(c)
    lab.solve(c)
    for pod in c.get("pods"):
        c.wait(f"pod/{pod.metadata.name}")
    assert [r.verdict for r in lab.check(c) if not r.verdict.ok] == []
    c.apply(NODE_PORT)
    for node in ("172.18.1.1", "172.18.1.2"):
        eventually(
            lambda node=node: c.shell("outside", f"curl -s -m 1 http://{node}:30080/hostname").stdout.startswith(
                "shop-"
            )
        )

    added = fresh_home.minik8s("node", "add", "--cluster", "m").stdout
    assert added == "node/node-3 added and Ready\n"
    eventually(lambda: c.shell("outside", "curl -s -m 1 http://172.18.1.3:30080/hostname").stdout.startswith("shop-"))
    wide = fresh_home.minik8s("get", "nodes", "-o", "wide", "--cluster", "m").stdout.splitlines()
    assert len(wide) == 4
    assert "172.18.1.3" in wide[3]
    fresh_home.minik8s("node", "rm", "node-3", "--cluster", "m")
    assert "no namespace" in fresh_home.minik8s("shell", "node-3", "--cluster", "m", check=False).stderr
    mtu = c.exec("customer", "cat /sys/class/net/eth0/mtu").stdout.strip()
    assert mtu == ("1450" if "vxlan" in flags else "1500")
