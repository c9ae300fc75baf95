"""Controllers together: what a user creates, and what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Endpoints, Namespace, Pod, Service, ServiceAccount
from lightkube.resources.core_v1 import Node as NodeObject
from lightkube.resources.discovery_v1 import EndpointSlice

from .conftest import Cluster, template

Run = Callable[[Callable[[Cluster], Any]], None]
WEB = {"matchLabels": {"app": "web"}}


def slices(one: Cluster, name: str) -> list[Any]:
    return one.client.list(EndpointSlice, "default", {"kubernetes.io/service-name": name})


def addresses(one: Cluster, name: str) -> dict[str, Any]:
    return {e.addresses[0]: e.conditions for s in slices(one, name) for e in s.endpoints or ()}


def older_addresses(one: Cluster, name: str) -> set[str]:
    """Those of the Endpoints."""
    found = one.client.find(Endpoints, name, "default")
    return {a.ip for s in (found.subsets if found else None) or () for a in s.addresses or ()}


def older(one: Cluster, name: str) -> int:
    return len(older_addresses(one, name))


def test_a_deployment_spreads_rolls_and_rolls_back(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        def settled(replicas: int, image: str) -> bool:
            d: Any = one.client.get(Deployment, "web", "default")
            pods = one.pods(app="web")
            good = d.status and d.status.observedGeneration == d.metadata.generation
            return bool(good and len(pods) == d.status.availableReplicas == replicas) and all(
                p.spec.containers[0].image == image for p in pods
            )

        one.create(Deployment, "web", {"replicas": 3, "selector": WEB, "template": template(app="web")})
        await one.until(lambda: settled(3, "nginx"))
        assert Counter(p.spec.nodeName for p in one.pods(app="web")) == {
            "node-1": 1,
            "node-2": 1,
            "node-3": 1,
        }
        least = 3

        def watch(_: object) -> None:
            nonlocal least
            least = min(least, sum(not p.metadata.deletionTimestamp for p in one.pods(app="web")))

        end = one.client.watch(Pod, watch)
        one.client.patch(Deployment, "web", {"spec": {"template": template("nginx:2", app="web")}}, "default")
        await one.until(lambda: settled(3, "nginx:2"))
        assert least >= 3, "25% of 3 rounded down: no pod may be missing"
        end()
        one.client.patch(Deployment, "web", {"spec": {"template": template(app="web")}}, "default")
        await one.until(lambda: settled(3, "nginx"))
        sets = {s.spec.replicas: s for s in one.client.list(ReplicaSet, "default")}
        assert sets[3].metadata.annotations["deployment.kubernetes.io/revision"] == "3" and sets[0]
        assert all(p.metadata.labels["pod-template-hash"] in p.metadata.name for p in one.pods(app="web"))
        conditions = {c.type: c.reason for c in one.client.get(Deployment, "web", "default").status.conditions}
        assert conditions == {
            "Available": "MinimumReplicasAvailable",
            "Progressing": "NewReplicaSetAvailable",
        }
        one.client.patch(Deployment, "web", {"spec": {"replicas": 5}}, "default")
        await one.until(lambda: settled(5, "nginx"))
        one.client.delete(Deployment, "web", "default")
        await one.until(lambda: not one.pods() and not one.client.list(ReplicaSet, "default"))

    cluster(script)


def test_endpoints_follow_pods_and_change_one_slice(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        port = {"port": 80, "targetPort": "http"}
        one.create(Service, "web", {"selector": {"app": "web"}, "ports": [port]})
        await one.until(lambda: len(slices(one, "web")) == 1)
        body = template(app="web")
        body["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
        for number in range(103):
            one.create(Pod, f"p{number}", body["spec"], labels={"app": "web"})
        await one.until(lambda: len(addresses(one, "web")) == 103)
        assert sorted(len(s.endpoints) for s in slices(one, "web")) == [3, 100]
        assert [(p.port, p.name) for p in slices(one, "web")[0].ports] == [(8080, "")]
        await one.until(lambda: older(one, "web") == 103)
        versions = {s.metadata.name: s.metadata.resourceVersion for s in slices(one, "web")}
        pod = one.client.get(Pod, "p7", "default")
        one.report(pod, "Running", False)
        await one.until(lambda: not addresses(one, "web")[pod.status.podIP].ready)
        changed = [s for s in slices(one, "web") if versions[s.metadata.name] != s.metadata.resourceVersion]
        assert len(changed) == 1
        one.client.delete(Service, "web", "default")
        await one.until(lambda: not slices(one, "web") and not one.client.find(Endpoints, "web", "default"))

    cluster(script)


def test_endpoints_follow_seldom_but_within_a_second(cluster: Run) -> None:
    """Of 200 addresses, while one changes all the time: a write costs too much to be made for each change."""

    async def script(one: Cluster) -> None:
        one.create(Service, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        for number in range(200):
            one.create(Pod, f"p{number}", template(app="web")["spec"], labels={"app": "web"})
        await one.until(lambda: older(one, "web") == 200, 30)
        await asyncio.sleep(0.5)  # no write is outstanding
        writes: list[int] = []
        own_slices: list[int] = []
        one.client.watch(Endpoints, lambda change: writes.append(older(one, "web")))
        one.client.watch(EndpointSlice, lambda change: own_slices.append(1))
        writes.clear()
        own_slices.clear()
        changes, began = 0, time.monotonic()
        while not writes and time.monotonic() < began + 5:
            changes += 1
            ip = f"10.245.{changes // 250}.{changes % 250}"  # never one that the Endpoints have already
            status = {"podIP": ip, "podIPs": [{"ip": ip}]}
            one.client.patch(Pod, "p7", {"status": status}, "default", subresource="status")
            await one.until(lambda n=changes: len(own_slices) == n)
            await asyncio.sleep(0.02)
        assert writes and changes > 1, "quiet never comes, the second does"
        await one.until(lambda: set(addresses(one, "web")) == older_addresses(one, "web"))

    cluster(script)


def test_what_others_do_to_slices_and_endpoints_is_undone(cluster: Run) -> None:
    """Our own writes are not looked at again; anybody else's are."""

    async def script(one: Cluster) -> None:
        one.create(Service, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        one.create(Pod, "p", template(app="web")["spec"], labels={"app": "web"})
        await one.until(lambda: older(one, "web") == 1)
        (name,) = (s.metadata.name for s in slices(one, "web"))
        one.client.patch(EndpointSlice, name, {"endpoints": []}, "default")
        one.client.patch(Endpoints, "web", {"subsets": None}, "default")
        assert not addresses(one, "web") and older(one, "web") == 0
        await one.until(lambda: len(addresses(one, "web")) == 1 and older(one, "web") == 1)
        one.client.delete(EndpointSlice, name, "default")
        one.client.delete(Endpoints, "web", "default")
        await one.until(lambda: len(addresses(one, "web")) == 1 and older(one, "web") == 1)

    cluster(script)


def test_own_endpoints_are_mirrored(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Service, "db", {"ports": [{"port": 5432}]})
        meta = {"name": "db", "namespace": "default"}
        subset = {"addresses": [{"ip": "172.18.0.2"}], "ports": [{"port": 5432}]}
        one.client.create(Endpoints, {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": [subset]})
        await one.until(lambda: addresses(one, "db"))
        assert list(addresses(one, "db")) == ["172.18.0.2"] and slices(one, "db")[0].ports[0].port == 5432
        managed = slices(one, "db")[0].metadata.labels["endpointslice.kubernetes.io/managed-by"]
        assert managed == "endpointslicemirroring-controller.k8s.io"

    cluster(script)


def test_stateful_pods_come_in_order_and_daemons_everywhere(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.ready = False
        spec = {
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": template(app="db"),
        }
        one.create(StatefulSet, "db", {**spec, "replicas": 2})
        one.create(DaemonSet, "ds", {"selector": {"matchLabels": {"app": "ds"}}, "template": template(app="ds")})
        await one.until(lambda: all(p.spec.nodeName for p in one.pods()) and len(one.pods()) == 4)
        assert [p.metadata.name for p in one.pods(app="db")] == ["db-0"], "db-1 waits for db-0"
        assert Counter(p.spec.nodeName for p in one.pods(app="ds")) == {"node-1": 1, "node-2": 1, "node-3": 1}
        one.report(one.client.get(Pod, "db-0", "default"), "Running", True)
        await one.until(lambda: len(one.pods(app="db")) == 2)
        second = one.client.get(Pod, "db-1", "default")
        assert (second.spec.hostname, second.spec.subdomain) == ("db-1", "db")

    cluster(script)


def test_a_job_ends(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        body = template("busybox")
        body["spec"]["restartPolicy"] = "Never"
        one.create(Job, "pi", {"completions": 2, "template": body})
        for _ in range(2):
            await one.until(lambda: any(p.status.phase == "Running" for p in one.pods()))
            one.report(next(p for p in one.pods() if p.status.phase == "Running"), "Succeeded", False)
        await one.until(lambda: one.client.get(Job, "pi", "default").status.completionTime)
        assert one.client.get(Job, "pi", "default").status.succeeded == 2

    cluster(script)


def test_what_does_not_fit_is_told_and_placed_later(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = template()["spec"]
        one.create(Pod, "picky", {**spec, "nodeSelector": {"disk": "ssd"}})
        await one.until(lambda: one.events("picky"))
        assert (
            "FailedScheduling: 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
            in (one.events("picky")[0])
        )
        condition = one.client.get(Pod, "picky", "default").status.conditions[0]
        assert (condition.type, condition.reason) == ("PodScheduled", "Unschedulable")
        one.client.patch(NodeObject, "node-2", {"metadata": {"labels": {"disk": "ssd"}}})
        await one.until(lambda: one.client.get(Pod, "picky", "default").spec.nodeName == "node-2")
        assert "Scheduled: Successfully assigned default/picky to node-2" in one.events("picky")
        for index in (1, 2, 3):
            one.client.patch(NodeObject, f"node-{index}", {"spec": {"unschedulable": True}})
        one.create(Pod, "late", spec)
        await one.until(lambda: one.events("late"))
        assert "3 node(s) were unschedulable" in one.events("late")[0]

    cluster(script)


def test_a_namespace_is_furnished_and_emptied(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
        one.client.create(Namespace, meta)
        await one.until(lambda: one.client.find(ConfigMap, "kube-root-ca.crt", "x"))
        assert one.client.find(ServiceAccount, "default", "x")
        one.create(Deployment, "web", {"selector": WEB, "template": template(app="web")}, namespace="x")
        await one.until(lambda: one.client.list(Pod, "x"))
        one.client.delete(Namespace, "x")
        await one.until(lambda: one.client.find(Namespace, "x") is None)
        assert not one.client.list(Pod, "x") and not one.client.list(ConfigMap, "x")

    cluster(script)


def test_pods_leave_with_their_node(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Pod, "p", {**template()["spec"], "nodeName": "node-3"})
        await one.until(lambda: one.client.get(Pod, "p", "default").status.podIP)
        one.client.delete(NodeObject, "node-3")
        await one.until(lambda: one.client.find(Pod, "p", "default") is None)
        assert one.client.find(NodeObject, "node-3") is None, "the node must not come back"

    cluster(script)
