"""The reference Services: our chains, names and rules are those that a real kube-proxy 1.32 wrote for them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import yaml
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from minik8s_net.proxy import iptables, nftables
from minik8s_net.proxy.model import SERVICE_NAME, Node, ServicePort, service_ports
from minik8s_net.proxy.rules import Rules

DATA = Path(__file__).parent / "data"
NODE = Node("kpnode", "10.200.77.2")
# What we leave out, and why: docs/kube-proxy-differences.md. The recorded cluster's own API Service is no input.
ALLOWED = ("nfacct", "10.96.0.1")


def reference_ports() -> list[ServicePort]:
    items = yaml.safe_load((DATA / "kube-proxy-input.yaml").read_text())["items"]
    slices = [EndpointSlice.from_dict(i) for i in items if i["kind"] == "EndpointSlice"]
    ports = []
    for service in (Service.from_dict(i) for i in items if i["kind"] == "Service"):
        own = [s for s in slices if s.metadata.labels[SERVICE_NAME] == service.metadata.name]
        ports += service_ports(service, own, NODE)
    return ports


@pytest.mark.parametrize(
    ("renderer", "base", "file"),
    [
        (iptables, iptables.base(), "kube-proxy-iptables.txt"),
        (nftables, nftables.base(NODE), "kube-proxy-nft.txt"),
    ],
    ids=["iptables", "nftables"],
)
def test_rules_equal_a_real_kube_proxys(renderer: ModuleType, base: Rules, file: str) -> None:
    ours = Rules.merge([base, renderer.render(reference_ports(), NODE)])
    real = renderer.parse((DATA / file).read_text())
    assert len(real.chains) > 40
    assert ours.chains.keys() == real.chains.keys()
    for name, body in real.chains.items():
        without_nfacct = tuple(r.replace(" -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts", "") for r in body)
        assert ours.chains[name] == without_nfacct, name
    different = ours.entries.keys() ^ real.entries.keys()
    assert [e for e in different if not any(word in " ".join(e) for word in ALLOWED)] == []
