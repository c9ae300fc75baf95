"""How templates are replaced: a DaemonSet's surge, a StatefulSet's broken image, seconds that a pod must be ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from minik8s_net.controllers import daemonset_plan, statefulset_plan
from minik8s_net.controllers.daemonset_plan import Place

from .conftest import Cluster, template

Run = Callable[[Callable[[Cluster], Any]], None]
WEB = {"matchLabels": {"app": "web"}}
OLD, NEW = "old", "new"


def pod(name: str, version: str = OLD, ready: bool = True, node: str = "", **more: Any) -> Pod:
    """`more`: since (when it became ready), deleted."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(more.get("since", 0)))
    meta = {"name": name, "uid": name, "labels": {daemonset_plan.HASH: version}, "creationTimestamp": stamp}
    if more.get("deleted"):
        meta["deletionTimestamp"] = stamp
    entry = {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp}
    status = {"phase": "Running", "conditions": [entry]}
    return Pod.from_dict({"metadata": meta, "spec": {"containers": [], "nodeName": node or name}, "status": status})


def daemons(minimum: int = 0, **rolling: Any) -> Any:
    spec = {"selector": WEB, "template": template(), "minReadySeconds": minimum,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}  # fmt: skip
    return DaemonSet.from_dict({"metadata": {"name": "web"}, "spec": spec})


def steps(found: Any, where: dict[str, Place]) -> tuple[list[str], list[str]]:
    todo = daemonset_plan.plan(found, where, NEW)
    return todo.create, [p.metadata.name for p in todo.delete if p.metadata]


def nodes(*pods: list[Pod]) -> dict[str, Place]:
    return {f"n{i}": Place(True, True, here) for i, here in enumerate(pods)}


def test_a_surging_daemon_set_creates_before_it_deletes() -> None:
    surge = daemons(maxSurge=1, maxUnavailable=0)
    assert steps(surge, nodes([pod("a")], [pod("b")])) == (["n0"], [])
    assert steps(surge, nodes([pod("a"), pod("a2", NEW, ready=False)], [pod("b")])) == ([], []), "one at a time"
    assert steps(surge, nodes([pod("a"), pod("a2", NEW)], [pod("b")])) == ([], ["a"])
    assert steps(surge, nodes([pod("a2", NEW)], [pod("b")])) == (["n1"], [])
    broken = nodes([pod("a", ready=False)], [pod("b", ready=False)], [pod("c")])
    assert steps(surge, broken) == (["n0", "n1", "n2"], []), "where nothing is available, nothing is lost"
    assert steps(daemons(maxSurge="50%", maxUnavailable=0), nodes([pod("a")], [pod("b")], [pod("c")]))[0] == [
        "n0",
        "n1",
    ]
    leaves = {"n0": Place(False, True, [pod("a")]), "n1": Place(True, True, [pod("b", NEW, ready=False)])}
    assert steps(surge, leaves) == ([], []), "it stays until there is another"


def test_a_daemon_set_waits_until_the_new_pod_is_available() -> None:
    now = time.time()
    first = nodes([pod("a", NEW, since=now - 5)], [pod("b")], [pod("c")])
    assert steps(daemons(minimum=60, maxUnavailable=1), first) == ([], [])
    assert steps(daemons(minimum=2, maxUnavailable=1), first) == ([], ["b"])
    assert steps(daemons(maxUnavailable="34%"), nodes([pod("a")], [pod("b")], [pod("c")])) == ([], ["a", "b"])
    sick = nodes([pod("a", NEW, ready=False)], [pod("b", ready=False)], [pod("c")])
    assert steps(daemons(maxUnavailable=1), sick) == ([], ["b"])


def test_a_daemon_set_obeys_surge_and_min_ready_seconds(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        rolling = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        spec = {"selector": WEB, "updateStrategy": rolling, "template": template("nginx:1", app="web")}
        one.create(DaemonSet, "web", spec)
        await one.until(lambda: sum(bool(p.status.podIP) for p in one.pods()) == 3)
        least, most = 3, 3

        def count(_: object) -> None:
            nonlocal least, most
            ready = [p for p in one.pods() if p.status.podIP and not p.metadata.deletionTimestamp]
            least = min(least, len(ready))
            most = max(most, sum(not p.metadata.deletionTimestamp for p in one.pods()))

        one.client.watch(Pod, count)
        one.client.patch(DaemonSet, "web", {"spec": {"template": template("nginx:2", app="web")}}, "default")
        await one.until(
            lambda: {p.spec.containers[0].image for p in one.pods()} == {"nginx:2"} and len(one.pods()) == 3
        )
        assert (least, most) == (3, 4)
        status: Any = one.client.get(DaemonSet, "web", "default")
        await one.until(lambda: one.client.get(DaemonSet, "web", "default").status.updatedNumberScheduled == 3)
        assert status.status.currentNumberScheduled == 3

    cluster(script)


def test_a_taint_that_only_keeps_pods_from_coming_drives_no_daemon_away(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(DaemonSet, "web", {"selector": WEB, "template": template(app="web")})
        await one.until(lambda: sum(bool(p.status.podIP) for p in one.pods()) == 3)

        def taint(effect: str) -> None:
            one.client.patch(Node, "node-1", {"spec": {"taints": [{"key": "mine", "effect": effect}]}})

        taint("NoSchedule")
        await one.until(lambda: one.client.get(DaemonSet, "web", "default").status.desiredNumberScheduled == 2)
        assert len(one.pods()) == 3
        taint("NoExecute")
        await one.until(lambda: len(one.pods()) == 2)

    cluster(script)


def stateful(policy: str, replicas: int = 3, **more: Any) -> Any:
    spec = {"replicas": replicas, "podManagementPolicy": policy, "selector": WEB, "template": template(), **more}
    return StatefulSet.from_dict({"metadata": {"name": "web"}, "spec": spec})


def step(found: Any, *pods: Pod) -> tuple[list[int], list[str]]:
    todo = statefulset_plan.plan(found, list(pods), NEW)
    return todo.create, [p.metadata.name for p in todo.delete if p.metadata]


def test_a_parallel_set_leaves_a_broken_image_and_an_ordered_one_waits_to_be_helped() -> None:
    broken = [pod(f"web-{i}", ready=False) for i in range(3)]
    assert step(stateful("Parallel"), *broken) == ([], ["web-2"])
    assert step(stateful("Parallel"), *broken[:2], pod("web-2", NEW, ready=False)) == ([], []), "one after the other"
    assert step(stateful("Parallel"), *broken[:2], pod("web-2", NEW)) == ([], ["web-1"])
    assert step(stateful("Parallel"), *broken[:2], pod("web-2", deleted=True)) == ([], [])
    assert step(stateful("OrderedReady"), *broken) == ([], []), "a forced rollback is the user's"
    assert step(stateful("OrderedReady"), *broken[:2]) == ([], [])
    assert step(stateful("Parallel"), broken[0]) == ([1, 2], [])
    assert step(stateful("OrderedReady"), pod("web-0", NEW)) == ([1], [])


def test_a_set_is_scaled_down_from_the_last_as_its_policy_says() -> None:
    pods = [pod(f"web-{i}", NEW) for i in range(4)]
    assert step(stateful("OrderedReady", 2), *pods) == ([], ["web-3"])
    assert step(stateful("Parallel", 2), *pods) == ([], ["web-3", "web-2"])
    assert step(stateful("OrderedReady", 2), *pods[:3], pod("web-3", NEW, ready=False)) == ([], ["web-3"])
    assert step(
        stateful("OrderedReady", 2), *pods[:2], pod("web-2", NEW, ready=False), pod("web-3", NEW, ready=False)
    ) == (
        [],
        [],
    )
    assert step(stateful("OrderedReady", 2), *pods[:3], pod("web-3", deleted=True)) == ([], [])


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_the_revision_is_current_when_every_pod_is_ready(policy: str) -> None:
    found = stateful(policy)
    mixed = [pod("web-0", NEW), pod("web-1", NEW), pod("web-2", NEW, ready=False)]
    assert statefulset_plan.counts(found, mixed, OLD, NEW)["currentRevision"] == OLD
    assert statefulset_plan.counts(found, [*mixed[:2], pod("web-2", NEW)], OLD, NEW)["currentRevision"] == NEW


def test_a_parallel_set_recovers_from_a_broken_image(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.ready = False
        spec = {"serviceName": "x", "replicas": 3, "podManagementPolicy": "Parallel", "selector": WEB}
        one.create(StatefulSet, "web", {**spec, "template": template("broken", app="web")})
        await one.until(lambda: sum(bool(p.spec.nodeName) for p in one.pods()) == 3)
        one.ready = True
        one.client.patch(StatefulSet, "web", {"spec": {"template": template("nginx", app="web")}}, "default")
        await one.until(lambda: [p.spec.containers[0].image for p in one.pods()] == ["nginx"] * 3)
        assert {p.metadata.name for p in one.pods()} == {"web-0", "web-1", "web-2"}

    cluster(script)


def test_changed_min_ready_seconds_reach_the_replica_set(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Deployment, "web", {"replicas": 2, "selector": WEB, "template": template(app="web")})
        await one.until(lambda: sum(bool(p.status.podIP) for p in one.pods()) == 2)
        before = {p.metadata.uid for p in one.pods()}
        one.client.patch(Deployment, "web", {"spec": {"minReadySeconds": 7}}, "default")
        await one.until(lambda: [s.spec.minReadySeconds for s in one.client.list(ReplicaSet, "default")] == [7])
        assert {p.metadata.uid for p in one.pods()} == before, "no pod has to be another for that"

    cluster(script)


def test_a_budget_asks_the_deployment_also_in_a_rollout(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        rolling = {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
        spec = {"replicas": 4, "strategy": rolling, "selector": WEB}
        one.create(Deployment, "web", {**spec, "template": template("nginx:1", app="web")})
        one.create(PodDisruptionBudget, "half", {"minAvailable": "50%", "selector": WEB})

        def budget() -> Any:
            return one.client.get(PodDisruptionBudget, "half", "default").status

        await one.until(lambda: budget() and budget().currentHealthy == 4)
        one.ready = False
        one.client.patch(Deployment, "web", {"spec": {"template": template("broken", app="web")}}, "default")
        await one.until(lambda: sum(bool(p.spec.nodeName) for p in one.pods()) == 6)
        await one.until(lambda: (budget().expectedPods, budget().desiredHealthy) == (4, 2))
        assert budget().disruptionsAllowed == 2

    cluster(script)
