"""`explain rule`: every rule of ours has its object, the line of its YAML as kubectl prints it, and our source line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.observe.rules.model import Told
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
FULL: dict[str, Any] = {
    "type": "LoadBalancer",
    "selector": {"app": "web"},
    "sessionAffinity": "ClientIP",
    "externalIPs": ["172.18.9.9"],
    "externalTrafficPolicy": "Local",
    "loadBalancerSourceRanges": ["172.18.0.0/16"],
    "ports": [
        {"name": "a", "port": 80, "nodePort": 30081},
        {"name": "b", "port": 81, "targetPort": 80, "nodePort": 30082},
    ],
}
OBJECTS = [
    pod("client", "node-1", "netshoot", "client"),
    pod("web", "node-2", "nginx", "web"),
    service("web", "web"),
    service("full", "web") | {"spec": FULL},
    service("wide", "web") | {"spec": {"type": "NodePort", "selector": {"app": "web"},
                                       "ports": [{"port": 80, "nodePort": 30090}]}},
    service("none", "nobody"),
    policy("walls", "web", "client"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def ruled(request: pytest.FixtureRequest, home: Home) -> Iterator[Cluster]:
    name = f"rules-{request.param}"
    home.minik8s("up", "--cluster", name, "--nodes", "2", "--proxy-mode", request.param)
    cluster = home.cluster(name)
    cluster.apply(OBJECTS)
    cluster.wait("pod/client")
    cluster.wait("pod/web")
    yield cluster
    home.minik8s("down", "--cluster", name)


def _chains(cluster: Cluster, node: str) -> list[str]:
    """Of the kernel: every chain and map that holds rules of ours."""
    saved = cluster.shell(node, "iptables-save").stdout
    found = [line.split()[0][1:] for line in saved.splitlines() if line.startswith(":KUBE-")]
    listed = json.loads(cluster.shell(node, "nft -j list ruleset").stdout or "{}").get("nftables", [])
    objects = [(kind, one[kind]) for one in listed for kind in ("chain", "map") if kind in one]
    return [*found, *(o["name"] for _, o in objects if o["table"] == "kube-proxy")]


def test_a_chain_that_services_fill_is_not_called_empty(ruled: Cluster) -> None:
    iptables = ruled.name == "rules-iptables"
    told = str(ruled.explain_rule("KUBE-SERVICES" if iptables else "services"))
    assert "empty" not in told and ("nat KUBE-SERVICES  (the chain itself)" in told or not iptables)


def test_every_rule_has_its_object_its_yaml_and_its_source(ruled: Cluster, home: Home) -> None:
    texts: dict[str, list[str]] = {}
    seen: set[str] = set()
    for chain in _chains(ruled, "node-2"):
        for told in ruled.explain_rule(chain, "node-2").told:
            seen.add(told.place.split()[1])
            _check_source(told)
            for origin in told.origins:
                if str(origin) not in texts:
                    where = ("--context", f"minik8s-{ruled.name}", "-n", origin.namespace)
                    done = home.kubectl(*where, "get", origin.kind, origin.name, "-o", "yaml")
                    texts[str(origin)] = done.stdout.splitlines()
                assert origin.line, f"{told.rule}: {origin} has no line"
                assert texts[str(origin)][origin.line - 1] == origin.text, f"{told.rule}: {origin}"
                assert origin.field.split(".")[-1].split("[")[0] in origin.text or "- " in origin.text
    assert seen >= set(_chains(ruled, "node-2"))


def _check_source(told: Told) -> None:
    assert told.source, f"nobody wrote {told.place} {told.rule}"
    lines = (ROOT / told.source.file).read_text().splitlines()
    assert lines[told.source.line - 1].strip() == told.source.code


def test_the_field_is_the_one_that_decides(ruled: Cluster) -> None:
    def fields(part: str) -> set[str]:
        return {o.field for told in ruled.explain_rule(part, "node-2").told for o in told.origins}

    nft = ruled.name == "rules-nftables"
    ip = ruled.get("pod", "web").status.podIP
    assert "endpoints[0].addresses[0]" in fields(f"dnat to {ip}:80" if nft else f"--to-destination {ip}:80")
    assert "spec.externalIPs[0]" in fields("172.18.9.9")
    assert fields("service-nodeports" if nft else "KUBE-NODEPORTS") >= {
        "spec.ports[0].nodePort",
        "spec.ports[1].nodePort",
    }
    assert "spec.sessionAffinity" in fields("affinity-" if nft else "--rcheck")
    assert "spec.loadBalancerSourceRanges" in fields("172.18.0.0/16")
    assert "spec.ingress[0]" in fields("default/walls ingress[0]")


def test_a_line_as_a_tool_printed_it_finds_itself(ruled: Cluster, home: Home) -> None:
    line = next(
        x for x in ruled.shell("node-2", "iptables-save -c").stdout.splitlines() if "none of default/walls" in x
    )
    line = line.split("] ", 1)[1]  # without the counters
    (told,) = ruled.explain_rule(line).told
    assert told.nodes == ["node-2"] and told.rule in line
    shown = home.minik8s("explain", "--cluster", ruled.name, "rule", "--node", "node-2", line).stdout
    assert "NetworkPolicy default/walls" in shown and "policy/render.py" in shown
    assert all(len(each) <= 80 for each in shown.splitlines())


def test_refusals_say_what_to_type(ruled: Cluster) -> None:
    for asked, told in (("no-such-rule", "minik8s shell"), ("", "which rule?"), ("-", "say more")):
        with pytest.raises(StatusError, match=told.replace("?", r"\?")):
            ruled.explain_rule(asked)
    with pytest.raises(StatusError, match="node-1, node-2"):
        ruled.explain_rule("KUBE-SERVICES", "node-9")
