"""A configuration that cannot be is refused with the field, the value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from minik8s_net.config import ClusterConfig, ConfigError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nodes": True}, "must be a whole number"),
        ({"nodes": "2"}, "Invalid value: .2.: must be a whole number"),
        ({"nodes": 251}, "must be between 1 and 250"),
        ({"heal": "banana"}, "must be true or false"),
        ({"cluster_domain": "a b"}, "RFC 1123 subdomain"),
        ({"cluster_domain": f"{'a' * 64}.test"}, "63 between dots"),
        ({"cluster_domain": ".".join(["abcdefghi"] * 13)}, "at most 120 characters"),
        ({"cluster_domain": 3}, "RFC 1123 subdomain"),
        ({"pod_cidr": "10.96.0.0/16"}, "service_cidr: .*overlaps pod_cidr"),
        ({"pod_cidr": "10.0.0.0/24"}, "must be a /16 or larger"),
        ({"cni": "calico"}, 'supported values: "host-gw", "vxlan"'),
        ({"colour": "red"}, 'unknown field "colour"'),
        ({"name": "Not_A_Label"}, "RFC 1123 label"),
    ],
)
def test_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ClusterConfig.from_dict(settings)


def test_addresses_read_as_one() -> None:
    config = ClusterConfig()
    assert [str(config.node_ip(3)), str(config.node_pod_cidr(3))] == ["172.18.1.3", "10.244.3.0/24"]
