"""Which table a Service is in: pure, by the names alone."""

from __future__ import annotations

from minik8s_net.faults.agents import _is_jump
from minik8s_net.proxy import nftables, nfttables
from minik8s_net.proxy.model import Endpoint, Node, ServicePort
from minik8s_net.proxy.nfttables import Tables, in_table, number, ours, where
from minik8s_net.proxy.rules import Difference, Rules

NODE = Node("node-1", "172.18.1.1")


def rendered(*numbers: int, endpoints: int = 1) -> dict[str, Rules]:
    return {f"default/s{n}": nftables.render([port(n, endpoints)], NODE) for n in numbers}


def port(n: int, endpoints: int = 1) -> ServicePort:
    listed = tuple(Endpoint(f"10.244.1.{i + 2}", 8080, True) for i in range(endpoints))
    return ServicePort(
        "default", f"s{n}", "http", "tcp", f"10.96.0.{n}", 80, 30000 + n, load_balancer_ips=(f"172.18.200.{n}",),
        source_ranges=("172.18.0.0/16",), cluster=listed, endpoints_anywhere=bool(endpoints),
    )  # fmt: skip


def tables_in(placed: dict[str, Rules]) -> dict[str, set[str]]:
    """Service -> the tables of its chains and of what leads to them."""
    return {
        service: {where(name)[0] for _, name in rules.chains if not name.startswith("firewall-")}
        | {where(m)[0] for m, _, _ in rules.entries if where(m)[1] in ("service-ips", "service-nodeports")}
        for service, rules in placed.items()
    }


def test_up_to_the_limit_there_is_kube_proxys_table_and_nothing_else() -> None:
    tables, rules = Tables(3), rendered(1, 2, 3)
    assert tables.placed(rules) == rules
    assert nftables.base(NODE, tables.further) == nftables.base(NODE) == Rules(nftables.BASE, {_NODE_PORTS: None})


_NODE_PORTS = ("nodeport-ips", NODE.ip, "")


def test_beyond_it_they_come_to_further_ones_and_stay() -> None:
    tables = Tables(2)
    first = tables_in(tables.placed(rendered(1, 2, 3, 4, 5)))
    assert first == {
        "default/s1": {"kube-proxy"},
        "default/s2": {"kube-proxy"},
        "default/s3": {"kube-proxy-2"},
        "default/s4": {"kube-proxy-2"},
        "default/s5": {"kube-proxy-3"},
    }
    assert tables.further == [2, 3]
    tables.placed({"default/s1": Rules(), **rendered(3, endpoints=0)})  # one goes, one has no endpoints: needs no table
    assert tables_in(tables.placed(rendered(5, 4, 2))) == {
        s: first[s] for s in ("default/s5", "default/s4", "default/s2")
    }
    assert tables_in(tables.placed(rendered(6, 3))) == {"default/s6": {"kube-proxy"}, "default/s3": {"kube-proxy-2"}}
    tables.placed({f"default/s{n}": Rules() for n in (3, 4)})
    assert tables.further == [3]


def test_what_refuses_and_drops_stays_in_the_first_table() -> None:
    (with_endpoint,) = rendered(1).values()
    (without,) = rendered(1, endpoints=0).values()
    there = in_table(with_endpoint, 7)
    assert {m for m, _, _ in there.entries} == {
        "cluster-ips", "firewall-ips", "kube-proxy-7 service-ips", "kube-proxy-7 service-nodeports",
    }  # fmt: skip
    assert {name for _, name in there.chains if not name.startswith("kube-proxy-7 ")} == {
        name for _, name in with_endpoint.chains if name.startswith("firewall-")
    }
    assert in_table(without, 7) == without  # all of it refuses


def test_what_a_kernel_prints_is_adopted_as_it_is() -> None:
    before = Tables(2)
    placed = before.placed(rendered(1, 2, 3, 4, 5))
    have = Rules.merge([nftables.base(NODE, before.further), *placed.values()])
    again = Tables(2)
    again.adopt(have, rendered(5, 4, 3, 1))  # s2 went meanwhile
    assert again.placed(rendered(5, 4, 3, 1)) == {s: placed[s] for s in placed if s != "default/s2"}
    assert tables_in(again.placed(rendered(6))) == {"default/s6": {"kube-proxy"}}
    again.adopt(Rules(), rendered(1, 2, 3))  # somebody deleted all
    assert tables_in(again.placed(rendered(3, 2, 1)))["default/s1"] == {"kube-proxy-2"}


def test_names() -> None:
    others = ["nat", "kube-proxy-1", "kube-proxy-x", "my-kube-proxy"]
    assert ours([*others, "kube-proxy-10", "kube-proxy-2", "kube-proxy"]) == [
        "kube-proxy", "kube-proxy-2", "kube-proxy-10",
    ]  # fmt: skip
    assert [number(t) for t in ("kube-proxy", "kube-proxy-12")] == [1, 12]
    assert where("services") == ("kube-proxy", "services")
    assert where("kube-proxy-2 services") == ("kube-proxy-2", "services")
    assert nfttables.SERVICES == 1000  # docs/scale.md
    jump, refusal = ("kube-proxy-2 service-ips", "10.96.0.1 . tcp . 80", ": goto x"), ("no-endpoint-services", "", "")
    assert (_is_jump(jump), _is_jump(refusal)) == (True, False)


def test_when_a_table_goes_nothing_in_it_is_left_to_do() -> None:
    placed = Tables(1).placed(rendered(1, 2))
    gone = Difference.between(placed["default/s2"], Rules())
    left = nfttables.without({"kube-proxy-2"}, gone)
    assert {m for m, _, _ in left.remove} == {"cluster-ips", "firewall-ips"}
    assert {name.split("-")[0] for _, name in left.delete} == {"firewall"}
