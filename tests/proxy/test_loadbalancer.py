"""Load balancer addresses: who gets which, how long, who announces it; over a real registry, without a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Event, Node, Pod, Service

from minik8s_net.config import ClusterConfig, ConfigError
from minik8s_net.proxy.announce import ANNOUNCED_BY
from minik8s_net.proxy.loadbalancer import EXCLUDED
from tests.controllers.conftest import Cluster

PORTS = [{"port": 80}]


def run(folder: Path, test: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Cluster(folder) as c:
            await test(c)

    asyncio.run(main())


def balanced(c: Cluster, name: str, **spec: Any) -> None:
    c.create(Service, name, {"type": "LoadBalancer", "ports": PORTS, "selector": {"app": name}, **spec})


def address(c: Cluster, name: str) -> str:
    """Of Service `name`; "" while it has none."""
    ingress = c.client.get(Service, name, "default").status.loadBalancer.ingress  # type: ignore[union-attr]
    return ingress[0].ip if ingress else ""  # type: ignore[return-value]


def announced_by(c: Cluster, name: str) -> str | None:
    metadata = c.client.get(Service, name, "default").metadata
    return ((metadata.annotations if metadata else None) or {}).get(ANNOUNCED_BY)


async def until(look: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not look():
            await asyncio.sleep(0.005)


def test_given_in_order_kept_and_given_back(tmp_path: Path) -> None:
    async def test(c: Cluster) -> None:
        for name in ("a", "b"):
            balanced(c, name)
            await until(lambda name=name: address(c, name))
        assert (address(c, "a"), address(c, "b")) == ("172.18.200.1", "172.18.200.2")
        c.client.patch(Service, "b", {"spec": {"ports": [{"port": 81}]}}, "default")
        c.client.delete(Service, "a", "default")
        balanced(c, "c")
        await until(lambda: address(c, "c") == "172.18.200.1")
        assert address(c, "b") == "172.18.200.2"
        ingress = c.client.get(Service, "b", "default").status.to_dict()  # type: ignore[union-attr]
        assert ingress == {"loadBalancer": {"ingress": [{"ip": "172.18.200.2", "ipMode": "VIP"}]}}

    run(tmp_path, test)


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    async def first(c: Cluster) -> None:
        for name in ("a", "b"):
            balanced(c, name)
            await until(lambda name=name: announced_by(c, name))
        c.client.delete(Service, "a", "default")

    async def second(c: Cluster) -> None:
        balanced(c, "c")
        await until(lambda: address(c, "c"))
        assert (address(c, "b"), address(c, "c")) == ("172.18.200.2", "172.18.200.1")

    run(tmp_path, first)
    run(tmp_path, second)


def test_asking_for_an_address(tmp_path: Path) -> None:
    async def test(c: Cluster) -> None:
        def warnings(name: str) -> list[str]:
            events = c.client.list(Event, "default")
            return [e.message or "" for e in events if e.involvedObject.name == name and e.type == "Warning"]

        balanced(c, "a", loadBalancerIP="172.18.200.77")
        await until(lambda: address(c, "a") == "172.18.200.77")
        balanced(c, "b", loadBalancerIP="172.18.200.77")
        balanced(c, "far", loadBalancerIP="192.0.2.1")
        await until(lambda: warnings("b") and warnings("far"))
        assert "172.18.200.77 is already the address of default/a" in warnings("b")[0]
        assert "192.0.2.1 is not in the pool 172.18.200.0/24" in warnings("far")[0]
        assert (address(c, "b"), address(c, "far")) == ("", "")
        c.client.delete(Service, "a", "default")
        await until(lambda: address(c, "b") == "172.18.200.77")
        c.client.patch(Service, "b", {"spec": {"loadBalancerIP": "172.18.200.78"}}, "default")
        await until(lambda: address(c, "b") == "172.18.200.78")

    run(tmp_path, test)


def test_another_type_gives_it_back_and_other_classes_are_not_ours(tmp_path: Path) -> None:
    async def test(c: Cluster) -> None:
        balanced(c, "a")
        balanced(c, "theirs", loadBalancerClass="example.com/theirs")
        balanced(c, "ours", loadBalancerClass="minik8s.net/fabric", allocateLoadBalancerNodePorts=False)
        await until(lambda: address(c, "a") and address(c, "ours"))
        c.client.patch(Service, "a", {"spec": {"type": "ClusterIP"}}, "default")
        await until(lambda: not address(c, "a") and announced_by(c, "a") is None)
        assert address(c, "theirs") == ""
        ports = c.client.get(Service, "ours", "default").spec.ports  # type: ignore[union-attr]
        assert ports[0].nodePort is None  # type: ignore[index]
        c.client.patch(Service, "a", {"spec": {"type": "LoadBalancer"}}, "default")
        await until(lambda: address(c, "a") and announced_by(c, "a"))

    run(tmp_path, test)


def test_the_announcing_node_can_do_it(tmp_path: Path) -> None:
    async def test(c: Cluster) -> None:
        balanced(c, "any")
        balanced(c, "local", externalTrafficPolicy="Local")
        await until(lambda: announced_by(c, "any"))
        before = announced_by(c, "any") or ""
        label = {"metadata": {"labels": {EXCLUDED: ""}}}
        c.client.patch(Node, before, label)
        await until(lambda: announced_by(c, "any") not in (before, ""))
        await until(lambda: address(c, "local"))
        assert announced_by(c, "local") == ""  # nobody has an endpoint of its own
        node = next(n for n in ("node-1", "node-2", "node-3") if n != before)
        containers = [{"name": "c", "image": "nginx"}]
        c.create(Pod, "p", {"nodeName": node, "containers": containers}, labels={"app": "local"})
        await until(lambda: announced_by(c, "local") == node)

    run(tmp_path, test)


@pytest.mark.parametrize("pool", ["10.0.0.0/24", "172.18.1.0/24", "172.18.200.0/31", "172.18.200.1/24", "nonsense"])
def test_a_pool_that_cannot_be_is_refused(pool: str) -> None:
    with pytest.raises(ConfigError, match="load_balancer_cidr: Invalid value"):
        ClusterConfig(load_balancer_cidr=pool)
    assert str(ClusterConfig(load_balancer_cidr="172.18.64.0/20").load_balancer_pool) == "172.18.64.0/20"
