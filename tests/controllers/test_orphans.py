"""Owners made anew after `kubectl delete --cascade=orphan` take over what was left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lightkube.resources.apps_v1 import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod

from minik8s_net.api.kinds import by_kind
from minik8s_net.apiserver.registry.options import DeleteOptions

from .conftest import Cluster, template

Run = Callable[[Callable[[Cluster], Any]], None]
WEB = {"matchLabels": {"app": "web"}}
SETS = {StatefulSet: {"replicas": 3, "serviceName": "x"}, DaemonSet: {}, Deployment: {"replicas": 3}}


def make(one: Cluster, kind: type[Any], image: str = "nginx:1") -> None:
    one.create(kind, "web", {**SETS[kind], "selector": WEB, "template": template(image, app="web")})


def pods(one: Cluster, image: str = "") -> dict[str, str]:
    found = [p for p in one.pods(app="web") if p.status.podIP and image in p.spec.containers[0].image]
    return {p.metadata.name: p.metadata.uid for p in found}


def owners(one: Cluster, kind: type[Any]) -> set[str]:
    """Uids of who controls the objects of that kind; "" for an orphan."""
    refs = [o.metadata.ownerReferences or [] for o in one.client.list(kind, "default", {"app": "web"})]
    return {r[0].uid if r else "" for r in refs}


async def orphan(one: Cluster, kind: type[Any], *children: type[Any]) -> None:
    info = kind._api_info.resource
    one.client.delete_tree(by_kind(info.api_version, info.kind), "default", "web", DeleteOptions(propagation="Orphan"))
    await one.until(lambda: one.client.find(kind, "web", "default") is None)
    await one.until(lambda: all(owners(one, child) == {""} for child in children))


@pytest.mark.parametrize("kind", [StatefulSet, DaemonSet])
def test_a_set_made_anew_adopts_pods_and_revisions_and_goes_on(cluster: Run, kind: type[Any]) -> None:
    async def script(one: Cluster) -> None:
        make(one, kind)
        await one.until(lambda: len(pods(one)) == 3)
        before = pods(one)
        await orphan(one, kind, Pod, ControllerRevision)
        make(one, kind)
        uid = one.client.get(kind, "web", "default").metadata.uid
        await one.until(lambda: owners(one, Pod) == owners(one, ControllerRevision) == {uid})
        assert pods(one) == before and len(one.client.list(ControllerRevision, "default")) == 1
        one.client.patch(kind, "web", {"spec": {"template": template("nginx:2", app="web")}}, "default")
        await one.until(lambda: len(pods(one, "nginx:2")) == 3)
        await orphan(one, kind, Pod, ControllerRevision)
        make(one, kind, "nginx:1")  # an older template: its revision is numbered anew
        await one.until(lambda: len(pods(one, "nginx:1")) == 3)
        assert {r.revision for r in one.client.list(ControllerRevision, "default")} == {2, 3}

    cluster(script)


@pytest.mark.parametrize("kind", [StatefulSet, DaemonSet])
def test_a_name_taken_by_another_template_is_a_collision(cluster: Run, kind: type[Any]) -> None:
    async def script(one: Cluster) -> None:
        make(one, kind)
        await one.until(lambda: len(pods(one)) == 3)
        (first,) = one.client.list(ControllerRevision, "default")
        one.client.delete(kind, "web", "default")
        await one.until(lambda: not one.client.list(ControllerRevision, "default") and not one.pods())
        tree = {**first.to_dict(), "data": {"spec": {}}}
        tree["metadata"] = {"name": first.metadata.name, "namespace": "default"}
        one.client.create(ControllerRevision, tree)
        make(one, kind)
        await one.until(lambda: len(pods(one)) == 3)
        await one.until(lambda: one.client.get(kind, "web", "default").status.collisionCount == 1)
        assert len(one.client.list(ControllerRevision, "default")) == 2

    cluster(script)


@pytest.mark.parametrize("kind", [StatefulSet, DaemonSet])
def test_what_a_predecessor_of_the_same_name_leaves_is_no_collision(cluster: Run, kind: type[Any]) -> None:
    """Deleted and made again at once: garbage collection has not come yet."""

    async def script(one: Cluster) -> None:
        make(one, kind)
        await one.until(lambda: len(pods(one)) == 3)
        before = set(pods(one).values())
        one.client.delete(kind, "web", "default")
        make(one, kind)
        await one.until(lambda: len(pods(one)) == 3 and not before & set(pods(one).values()))
        uid = one.client.get(kind, "web", "default").metadata.uid
        assert owners(one, ControllerRevision) == {uid} and len(one.client.list(ControllerRevision, "default")) == 1
        assert not one.client.get(kind, "web", "default").status.collisionCount

    cluster(script)


def test_a_deployment_made_anew_goes_on_with_the_replica_set_left_behind(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        make(one, Deployment)
        await one.until(lambda: len(pods(one)) == 3)
        before = pods(one)
        await orphan(one, Deployment, ReplicaSet)
        make(one, Deployment)
        uid = one.client.get(Deployment, "web", "default").metadata.uid
        await one.until(lambda: owners(one, ReplicaSet) == {uid})
        await one.until(lambda: (s := one.client.get(Deployment, "web", "default").status) and s.availableReplicas == 3)
        assert pods(one) == before and len(one.client.list(ReplicaSet, "default")) == 1

    cluster(script)


def test_a_replica_set_that_loses_the_labels_is_let_go_and_one_that_gets_them_adopted(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        make(one, Deployment)
        await one.until(lambda: len(pods(one)) == 3)
        (first,) = one.client.list(ReplicaSet, "default")
        before = pods(one)
        one.client.patch(ReplicaSet, first.metadata.name, {"metadata": {"labels": {"app": "other"}}}, "default")
        await one.until(lambda: not one.client.get(ReplicaSet, first.metadata.name, "default").metadata.ownerReferences)
        one.client.patch(ReplicaSet, first.metadata.name, {"metadata": {"labels": {"app": "web"}}}, "default")
        await one.until(lambda: one.client.get(ReplicaSet, first.metadata.name, "default").metadata.ownerReferences)
        assert one.client.get(Deployment, "web", "default").metadata.uid in owners(one, ReplicaSet)
        assert before.items() <= pods(one).items(), "its pods went on all the time"

    cluster(script)


def test_a_stateful_set_adopts_only_pods_of_its_name(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        for name in ("web-1", "web-more-1"):
            one.create(Pod, name, template()["spec"], labels={"app": "web"})
        make(one, StatefulSet)
        await one.until(lambda: set(pods(one)) == {"web-0", "web-1", "web-2", "web-more-1"})
        await one.until(lambda: one.client.get(Pod, "web-1", "default").metadata.ownerReferences)
        assert not one.client.get(Pod, "web-more-1", "default").metadata.ownerReferences

    cluster(script)


def test_a_pod_that_was_let_go_is_made_anew_once_its_name_is_free(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        make(one, StatefulSet)
        await one.until(lambda: len(pods(one)) == 3)
        one.client.patch(Pod, "web-0", {"metadata": {"labels": {"app": "mine"}}}, "default")
        await one.until(lambda: not one.client.get(Pod, "web-0", "default").metadata.ownerReferences)
        await one.until(lambda: any("FailedCreate" in event for event in one.events("web")))
        others = pods(one)
        one.client.delete(Pod, "web-0", "default", grace_seconds=0)
        await one.until(lambda: len(pods(one)) == 3)
        assert set(pods(one)) == {"web-0", "web-1", "web-2"} and others.items() <= pods(one).items()
        assert owners(one, Pod) == {one.client.get(StatefulSet, "web", "default").metadata.uid}

    cluster(script)
