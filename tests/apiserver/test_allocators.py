"""Cluster IPs and node ports: never twice, bands, freed by deletion, kept by updates, refused in Kubernetes' words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from minik8s_net.apiserver.allocators import ServiceAllocator
from minik8s_net.config import ClusterConfig

Json = dict[str, Any]


def service(name: str, type: str = "ClusterIP", ports: list[Json] | None = None, **spec: Any) -> Json:
    ports = ports if ports is not None else [{"port": 80, "protocol": "TCP"}]
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"type": type, "ports": ports, **spec}}


@pytest.fixture
def allocator() -> ServiceAllocator:
    return ServiceAllocator(ClusterConfig(), [])


def test_addresses_come_from_the_upper_band_and_are_never_given_twice(allocator: ServiceAllocator) -> None:
    seen = set()
    for i in range(1000):
        svc = service(f"s{i}")
        assert allocator.allocate(svc, None) == []
        assert svc["spec"]["clusterIPs"] == [svc["spec"]["clusterIP"]]
        third, fourth = map(int, svc["spec"]["clusterIP"].split(".")[2:])
        assert 256 < third * 256 + fourth < 65535  # the first 256 are for people's own choice
        seen.add(svc["spec"]["clusterIP"])
    assert len(seen) == 1000


def test_a_small_range_is_used_up_lower_band_last_then_full() -> None:
    config = ClusterConfig(service_cidr="10.96.0.0/16")
    allocator = ServiceAllocator(config, [])
    allocator._addresses.__init__(range(1, 31), 16)  # type: ignore[misc]
    numbers = []
    for i in range(30):
        numbers.append(allocator._addresses.choose(f"s{i}"))
        allocator._addresses.set(f"s{i}", [numbers[-1]])
    assert all(n > 16 for n in numbers[:14])
    assert sorted(numbers) == list(range(1, 31))
    error = allocator.allocate(service("one-more"), None)[0]
    assert str(error) == "spec.clusterIPs: Internal error: failed to allocate a serviceIP: range is full"


def test_the_same_service_gets_the_same_address_in_every_cluster() -> None:
    first, second = service("web", "NodePort"), service("web", "NodePort")
    ServiceAllocator(ClusterConfig(), []).allocate(first, None)
    ServiceAllocator(ClusterConfig(), []).allocate(second, None)
    assert first == second


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"clusterIP": "10.96.0.0"},
            'spec.clusterIPs: Invalid value: []string{"10.96.0.0"}: failed to allocate IP 10.96.0.0: the provided IP '
            "(10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (
            {"clusterIP": "10.96.0.77"},
            'spec.clusterIPs: Invalid value: []string{"10.96.0.77"}: failed to allocate IP 10.96.0.77: provided IP is '
            "already allocated",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. "
            "The range of valid ports is 30000-32767",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30077}]},
            "spec.ports[1].nodePort: Invalid value: 30077: provided port is already allocated",
        ),
    ],
)
def test_taken_and_out_of_range_are_refused_in_kubernetes_words(
    allocator: ServiceAllocator, spec: Json, message: str
) -> None:
    holder = service("holder", "NodePort", [{"port": 80, "nodePort": 30077}], clusterIP="10.96.0.77")
    assert allocator.allocate(holder, None) == []
    refused = service("refused", **spec)
    assert [str(e) for e in allocator.allocate(refused, None)] == [message]
    allocator.release(holder)
    if "already" in message:  # freed on deletion
        assert allocator.allocate(service("refused", **copy.deepcopy(spec)), None) == []


def test_a_refusal_reserves_nothing(allocator: ServiceAllocator) -> None:
    bad = service("bad", "NodePort", [{"port": 80, "nodePort": 80}], clusterIP="10.96.0.50")
    assert allocator.allocate(bad, None)
    assert allocator.allocate(service("good", clusterIP="10.96.0.50"), None) == []


def test_state_is_rebuilt_from_the_services_there_are() -> None:
    old = service("old", "NodePort", [{"port": 80, "nodePort": 30500}], clusterIP="10.96.5.5", clusterIPs=["10.96.5.5"])
    allocator = ServiceAllocator(ClusterConfig(), [old])
    assert allocator.allocate(service("new", clusterIP="10.96.5.5"), None)
    assert allocator.allocate(service("new", "NodePort", [{"port": 80, "nodePort": 30500}]), None)


def test_one_port_in_two_protocols_shares_its_node_port(allocator: ServiceAllocator) -> None:
    ports = [
        {"name": "u", "port": 53, "protocol": "UDP"},
        {"name": "t", "port": 53, "protocol": "TCP"},
        {"name": "m", "port": 9153, "protocol": "TCP"},
    ]
    svc = service("dns", "NodePort", ports)
    assert allocator.allocate(svc, None) == []
    udp, tcp, metrics = (p["nodePort"] for p in svc["spec"]["ports"])
    assert udp == tcp != metrics
    assert metrics >= 30086  # the lower band is for people's own choice


def test_updates_keep_what_they_have_and_free_what_they_drop(allocator: ServiceAllocator) -> None:
    old = service("web", "NodePort", clusterIP="10.96.0.60")
    allocator.allocate(old, None)
    port = old["spec"]["ports"][0]["nodePort"]
    same = copy.deepcopy(old)
    assert allocator.allocate(same, old) == []
    assert same == old
    plain = service("web", clusterIP="10.96.0.60", clusterIPs=["10.96.0.60"])
    assert allocator.allocate(plain, same) == []
    assert allocator.allocate(service("other", "NodePort", [{"port": 1, "nodePort": port}]), None) == []
    external = service("web", "ExternalName", [], externalName="example.com")
    assert allocator.allocate(external, plain) == []
    assert "clusterIP" not in external["spec"]
    assert allocator.allocate(service("third", clusterIP="10.96.0.60"), None) == []


def test_health_check_port_only_for_local_load_balancers(allocator: ServiceAllocator) -> None:
    local = service("lb", "LoadBalancer", externalTrafficPolicy="Local")
    assert allocator.allocate(local, None) == []
    assert local["spec"]["healthCheckNodePort"] not in (None, local["spec"]["ports"][0]["nodePort"])
    plain = service("lb2", "LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert allocator.allocate(plain, None) == []
    assert "healthCheckNodePort" not in plain["spec"]
    assert "nodePort" not in plain["spec"]["ports"][0]


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "externalName": "example.com"}])
def test_headless_and_external_name_get_no_address(allocator: ServiceAllocator, spec: Json) -> None:
    svc = service("none", **spec)
    assert allocator.allocate(svc, None) == []
    assert svc["spec"].get("clusterIP") in (None, "None")
