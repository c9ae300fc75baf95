"""What a pod is called inside, as text: no kernel needed."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from minik8s_net.api.validation.pod import validate_spec
from minik8s_net.kubelet import dnsconfig


def pod(**spec: Any) -> Pod:
    spec = {"containers": [{"name": "c", "image": "nginx"}], **spec}
    return Pod.from_dict({"metadata": {"name": "c", "namespace": "shop"}, "spec": spec})


def test_the_cluster_domain_is_the_clusters() -> None:
    named = pod(subdomain="hl", setHostnameAsFQDN=True)
    assert dnsconfig.hostname(named, "node-1", "corp.example") == "c.hl.shop.svc.corp.example"
    assert "10.244.1.2\tc.hl.shop.svc.corp.example\tc\n" in dnsconfig.hosts(named, "10.244.1.2", "corp.example")


def test_a_name_that_the_kernel_has_no_room_for_is_refused() -> None:
    long = pod(hostname="a" * 40, subdomain="hl", setHostnameAsFQDN=True)
    with pytest.raises(ValueError, match=r"FQDN a{40}\.hl\.shop\.svc\.cluster\.local is too long \(64 .*, [0-9]+ char"):
        dnsconfig.hostname(long, "node-1", "cluster.local")
    assert dnsconfig.hostname(pod(hostname="a" * 40, subdomain="hl"), "node-1", "cluster.local") == "a" * 40


@pytest.mark.parametrize(
    ("searches", "words"),
    [
        ([".", "_tcp.web.default.svc.cluster.local", "a.b."], []),
        (
            ["A.b"],
            ["a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.'"],
        ),
        (["a" * 200] * 11, ["must not have more than 2048 characters (including spaces) in the search list"]),
        (["a"] * 33, ["must not have more than 32 search paths"]),
    ],
)
def test_search_paths(searches: list[str], words: list[str]) -> None:
    """RelaxedDNSSearchValidation, on since 1.33."""
    spec = {"containers": [{"name": "c", "image": "nginx"}], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
    errors = [
        str(e) for e in validate_spec({**spec, "dnsConfig": {"searches": searches}}, "spec") if "dnsConfig" in str(e)
    ]
    assert len(errors) == len(words)
    assert all(word in error for word, error in zip(words, errors, strict=True))
