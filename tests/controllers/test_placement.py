"""Where pods go and from where they leave: spreading, requests, lost nodes, and who is deleted with whom."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod, Service

from minik8s_net.api.kinds import by_kind
from minik8s_net.apiserver.registry.options import DeleteOptions
from minik8s_net.controllers.common import condition
from minik8s_net.controllers.nodelifecycle import NodeLifecycleController

from .conftest import Cluster, template

Run = Callable[[Callable[[Cluster], Any]], None]


def where(one: Cluster, **labels: str) -> Counter[str]:
    return Counter(p.spec.nodeName for p in one.pods(**labels) if p.spec.nodeName)


def test_pods_of_one_service_go_apart(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Service, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        for name in ("x", "y"):
            one.create(Pod, name, {**template()["spec"], "nodeName": "node-1"}, labels={"app": "other"})
        for name in ("a", "b", "c"):
            one.create(Pod, name, template()["spec"], labels={"app": "web"})
        await one.until(lambda: where(one, app="web").total() == 3)
        assert where(one, app="web") == {"node-1": 1, "node-2": 1, "node-3": 1}

    cluster(script)


def test_a_spread_constraint_is_kept(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        for number, zone in ((1, "a"), (2, "a"), (3, "b")):
            one.client.patch(Node, f"node-{number}", {"metadata": {"labels": {"zone": zone}}})
        constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                      "labelSelector": {"matchLabels": {"app": "web"}}}  # fmt: skip
        spec = {**template()["spec"], "topologySpreadConstraints": [constraint]}
        one.client.patch(Node, "node-3", {"spec": {"unschedulable": True}})
        for name in "abc":
            one.create(Pod, name, spec, labels={"app": "web"})
        text = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread"
        await one.until(lambda: any(text in e for e in one.events("c")))
        assert sum(where(one, app="web").values()) == 1, "zone a may be one ahead of zone b"
        one.client.patch(Node, "node-3", {"spec": {"unschedulable": None}})
        await one.until(lambda: sum(where(one, app="web").values()) == 3)
        assert where(one, app="web")["node-3"] in (1, 2)

    cluster(script)


def test_what_asks_for_too_much_waits(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        for number in (1, 2, 3):
            status = {"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "250"}}}
            one.client.patch(Node, f"node-{number}", status, subresource="status")

        def asking(cpu: str, memory: str = "1Mi") -> dict[str, Any]:
            spec = template()["spec"]
            container = {**spec["containers"][0], "resources": {"requests": {"cpu": cpu, "memory": memory}}}
            return {**spec, "containers": [container]}

        for name in ("a", "b", "c"):
            one.create(Pod, name, asking("1500m"), labels={"app": "big"})
        await one.until(lambda: where(one, app="big") == {"node-1": 1, "node-2": 1, "node-3": 1})
        one.create(Pod, "late", asking("1"))
        one.create(Pod, "huge", asking("100m", "2Gi"))
        await one.until(lambda: one.events("late") and one.events("huge"))
        assert "0/3 nodes are available: 3 Insufficient cpu." in one.events("late")[0]
        assert "3 Insufficient memory" in one.events("huge")[0]
        one.client.delete(Pod, "b", "default", grace_seconds=0)
        await one.until(lambda: one.client.get(Pod, "late", "default").spec.nodeName == "node-2")

    cluster(script)


def test_a_node_that_falls_silent_is_tainted_and_left(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        tolerations = [{"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": 0} for k in ("unreachable", "not-ready")]  # fmt: skip
        one.create(Pod, "leaves", {**template()["spec"], "nodeName": "node-2", "tolerations": tolerations})
        one.create(Pod, "stays", {**template()["spec"], "nodeName": "node-2"})
        await one.until(lambda: all(p.status.podIP for p in one.pods()))
        past = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - 100))
        for number in (1, 2, 3):
            renew = past if number == 2 else time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
            one.client.patch(Lease, f"node-{number}", {"spec": {"renewTime": renew}}, "kube-node-lease")
        judge = NodeLifecycleController(one.client, grace=5.0)
        judge._began -= 100
        node: Any = one.client.get(Node, "node-2")
        born = node.metadata.creationTimestamp
        judge.grace = -0.5 if time.time() - born.timestamp() < 5 else judge.grace
        for number in (1, 3):  # with the grace at nothing only a lease of the future is in time
            future = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + 100))
            one.client.patch(Lease, f"node-{number}", {"spec": {"renewTime": future}}, "kube-node-lease")
        judge.round()
        node = one.client.get(Node, "node-2")
        assert condition(node, "Ready").status == "Unknown"
        assert {(t.key, t.effect) for t in node.spec.taints} == {
            ("node.kubernetes.io/unreachable", "NoSchedule"), ("node.kubernetes.io/unreachable", "NoExecute"),
        }  # fmt: skip
        assert condition(one.client.get(Pod, "stays", "default"), "Ready").status == "False"
        judge.round()
        await one.until(lambda: one.client.find(Pod, "leaves", "default") is None)
        assert one.client.get(Pod, "stays", "default").metadata.deletionTimestamp is None, "five minutes of patience"
        assert condition(one.client.get(Node, "node-1"), "Ready").status == "True"

    cluster(script)


def test_foreground_and_orphan_deletion(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        kind = by_kind("apps/v1", "Deployment")
        assert kind is not None
        for name, how in (("fore", "Foreground"), ("orphan", "Orphan")):
            labels = {"app": name}
            spec = {"selector": {"matchLabels": labels}, "template": template(**labels), "replicas": 2}
            one.create(Deployment, name, spec)
            await one.until(lambda labels=labels: len([p for p in one.pods(**labels) if p.status.podIP]) == 2)
            gone: list[str] = []

            def note(change: Any, gone: list[str] = gone) -> None:
                if change.type == "DELETED":
                    gone.append(type(change.new).__name__)

            ends = [one.client.watch(k, note) for k in (Deployment, ReplicaSet, Pod)]
            one.client.delete_tree(kind, "default", name, DeleteOptions(propagation=how))
            await one.until(lambda name=name: one.client.find(Deployment, name, "default") is None)
            for end in ends:
                end()
            if how == "Foreground":
                assert gone == ["Pod", "Pod", "ReplicaSet", "Deployment"]
            else:
                assert gone == ["Deployment"] and len(one.pods(**labels)) == 2
                assert not one.client.list(ReplicaSet, "default")[0].metadata.ownerReferences

    cluster(script)
