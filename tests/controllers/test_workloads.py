"""Each workload in its finer points: history, scaling in mid-rollout, deadlines, jobs and schedules."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lightkube.resources.apps_v1 import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Event, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from minik8s_net.controllers.expiry import EventExpiry
from minik8s_net.controllers.job_tracking import ranges
from minik8s_net.controllers.rollout import proportional

from .conftest import Cluster, template

Run = Callable[[Callable[[Cluster], Any]], None]
WEB = {"matchLabels": {"app": "web"}}


def condition(obj: Any, kind: str) -> Any:
    return next((c for c in (obj.status.conditions if obj.status else None) or () if c.type == kind), None)


def test_replicas_added_in_mid_rollout_are_shared_out() -> None:
    """The documentation's example: 10 replicas, maxSurge 3, scaled to 15 while 8 old and 5 new run: 11 and 7."""
    assert proportional(15, 3, [(5, 13), (8, 13)]) == [7, 11]
    assert proportional(10, 3, [(7, 18), (11, 18)]) == [5, 8]
    assert proportional(0, 3, [(5, 13), (8, 13)]) == [0, 0]
    for wanted in range(1, 40):
        sizes = proportional(wanted, 2, [(3, 12), (4, 12), (5, 12)])
        assert sum(sizes) == wanted + 2 and all(size >= 0 for size in sizes)


def test_a_deployment_scaled_in_mid_rollout_keeps_its_shares(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"replicas": 10, "selector": WEB, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}
        one.create(Deployment, "web", {**spec, "template": template(app="web")})
        await one.until(lambda: len([p for p in one.pods() if p.status.podIP]) == 10)
        one.ready = False
        one.client.patch(Deployment, "web", {"spec": {"template": template("broken", app="web")}}, "default")

        def sizes() -> list[int]:
            return sorted(s.spec.replicas for s in one.client.list(ReplicaSet, "default"))

        await one.until(lambda: sizes() == [5, 8])
        one.client.patch(Deployment, "web", {"spec": {"replicas": 15}}, "default")
        await one.until(lambda: sizes() == [7, 11])
        old = {
            s.spec.replicas: s.spec.template.spec.containers[0].image for s in one.client.list(ReplicaSet, "default")
        }
        assert old[7] == "broken" and old[11] != "broken", "the larger share is of what works"

    cluster(script)


def test_a_rollout_that_does_not_move_is_called_so(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.ready = False
        one.create(Deployment, "web", {"progressDeadlineSeconds": 1, "selector": WEB, "minReadySeconds": 0,
                                       "template": template(app="web")})  # fmt: skip

        def reason() -> str:
            found = condition(one.client.get(Deployment, "web", "default"), "Progressing")
            return found.reason if found else ""

        await one.until(lambda: reason() == "ProgressDeadlineExceeded", 8)
        for pod in one.pods():
            one.report(pod, "Running", True)
        await one.until(lambda: reason() == "NewReplicaSetAvailable")

    cluster(script)


def test_revisions_are_made_numbered_anew_and_forgotten(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"selector": WEB, "template": template("nginx:1", app="web"), "revisionHistoryLimit": 1}
        one.create(DaemonSet, "web", spec)

        def revisions() -> dict[str, int]:
            found = one.client.list(ControllerRevision, "default")
            return {r.data["spec"]["template"]["spec"]["containers"][0]["image"]: r.revision for r in found}

        def update(image: str) -> None:
            one.client.patch(DaemonSet, "web", {"spec": {"template": template(image, app="web")}}, "default")

        await one.until(lambda: revisions() == {"nginx:1": 1})
        update("nginx:2")
        await one.until(lambda: revisions() == {"nginx:1": 1, "nginx:2": 2})
        await one.until(lambda: {p.spec.containers[0].image for p in one.pods()} == {"nginx:2"})
        update("nginx:1")
        await one.until(lambda: revisions() == {"nginx:1": 3, "nginx:2": 2})
        update("nginx:3")
        await one.until(lambda: revisions() == {"nginx:1": 3, "nginx:3": 4})
        one.client.delete(DaemonSet, "web", "default")
        await one.until(lambda: not revisions())

    cluster(script)


def test_pods_below_the_partition_keep_their_revision(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"serviceName": "x", "replicas": 2, "selector": WEB, "template": template("nginx:1", app="web"),
                "updateStrategy": {"rollingUpdate": {"partition": 1}}}  # fmt: skip
        one.create(StatefulSet, "web", spec)

        def images() -> dict[str, str]:
            return {p.metadata.name: p.spec.containers[0].image for p in one.pods() if p.status.podIP}

        await one.until(lambda: images() == {"web-0": "nginx:1", "web-1": "nginx:1"})
        one.client.patch(StatefulSet, "web", {"spec": {"template": template("nginx:2", app="web")}}, "default")
        await one.until(lambda: images() == {"web-0": "nginx:1", "web-1": "nginx:2"})
        before = one.client.get(Pod, "web-0", "default").metadata.uid
        one.client.delete(Pod, "web-0", "default", grace_seconds=0)
        await one.until(lambda: (p := one.client.find(Pod, "web-0", "default")) and p.metadata.uid != before)
        await one.until(lambda: images() == {"web-0": "nginx:1", "web-1": "nginx:2"})

    cluster(script)


def test_pods_are_adopted_and_let_go_by_their_labels(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        def owned() -> set[str]:
            return {p.metadata.name for p in one.pods() if p.metadata.ownerReferences}

        one.create(Pod, "before", template()["spec"], labels={"app": "web"})
        one.create(ReplicaSet, "web", {"replicas": 2, "selector": WEB, "template": template(app="web")})
        await one.until(lambda: "before" in owned() and len(one.pods()) == 2)
        one.create(Pod, "stray", template()["spec"], labels={"app": "x"})
        one.client.patch(ReplicaSet, "web", {"spec": {"replicas": 3}}, "default")
        await one.until(lambda: len(owned()) == 3)
        one.client.patch(Pod, "before", {"metadata": {"labels": {"app": "debug"}}}, "default")
        await one.until(lambda: "before" not in owned() and len(owned()) == 3)
        one.client.patch(Pod, "stray", {"metadata": {"labels": {"app": "web"}}}, "default")
        await one.until(lambda: len(one.pods(app="web")) == 3 and len(owned()) == 3)
        assert one.client.get(Pod, "before", "default").metadata.ownerReferences is None
        one.client.delete(ReplicaSet, "web", "default")
        await one.until(lambda: not owned())
        assert [p.metadata.name for p in one.pods()] == ["before"]

    cluster(script)


def body() -> dict[str, Any]:
    made = template("busybox")
    made["spec"]["restartPolicy"] = "Never"
    return made


def test_a_job_obeys_its_limits(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        def pods(job: str, phase: str = "") -> list[Any]:
            found = one.client.list(Pod, "default", {"job-name": job})
            return [p for p in found if not phase or p.status.phase == phase]

        def job(name: str) -> Any:
            return one.client.get(Job, name, "default")

        one.create(Job, "wide", {"parallelism": 3, "completions": 6, "completionMode": "Indexed", "template": body()})
        await one.until(lambda: len(pods("wide", "Running")) == 3)
        one.client.patch(Job, "wide", {"spec": {"parallelism": 1}}, "default")
        await one.until(lambda: len(pods("wide")) == 1)
        one.client.patch(Job, "wide", {"spec": {"suspend": True}}, "default")
        await one.until(lambda: not pods("wide") and condition(job("wide"), "Suspended").status == "True")
        one.client.patch(Job, "wide", {"spec": {"suspend": False, "parallelism": 6}}, "default")
        await one.until(lambda: len(pods("wide", "Running")) == 6)
        for pod in pods("wide"):
            one.report(pod, "Succeeded", False)
        await one.until(lambda: condition(job("wide"), "Complete"))
        assert job("wide").status.completedIndexes == "0-5"

        one.create(Job, "fails", {"backoffLimit": 0, "template": body()})
        await one.until(lambda: pods("fails", "Running"))
        one.report(pods("fails")[0], "Failed", False)
        await one.until(lambda: condition(job("fails"), "Failed"))
        assert condition(job("fails"), "Failed").reason == "BackoffLimitExceeded"

        one.create(Job, "slow", {"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 1, "template": body()})
        await one.until(lambda: condition(job("slow"), "Failed"), 8)
        assert condition(job("slow"), "Failed").reason == "DeadlineExceeded" and not pods("slow")
        await one.until(lambda: one.client.find(Job, "slow", "default") is None, 8)

        lost = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
        one.create(Job, "lost", {**lost, "template": body()})
        await one.until(lambda: len(pods("lost", "Running")) == 2)
        for pod in pods("lost"):
            good = pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] == "0"
            one.report(pod, "Succeeded" if good else "Failed", False)
        await one.until(lambda: condition(job("lost"), "Failed"))
        assert condition(job("lost"), "Failed").reason == "FailedIndexes" and job("lost").status.failedIndexes == "1"

    cluster(script)


def test_index_ranges_are_written_as_kubernetes_does() -> None:
    assert ranges([]) == "" and ranges([3]) == "3" and ranges([1, 2]) == "1,2" and ranges([7, 1, 3, 4, 5]) == "1,3-5,7"


def test_a_cron_job_makes_jobs_and_keeps_few(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"schedule": "@every 1s", "successfulJobsHistoryLimit": 1, "jobTemplate": {"spec": {"template": body()}}}
        one.create(CronJob, "tick", {**spec, "concurrencyPolicy": "Forbid"})

        def jobs() -> list[Any]:
            return sorted(one.client.list(Job, "default"), key=lambda j: j.metadata.name)

        def found() -> Any:
            return one.client.get(CronJob, "tick", "default")

        await one.until(lambda: jobs() and one.pods() and one.pods()[0].status.phase == "Running", 8)
        first = jobs()[0]
        assert first.metadata.ownerReferences[0].name == "tick" and found().status.active[0].name == first.metadata.name
        await one.until(lambda: "JobAlreadyActive" in str(one.events("tick")), 8)
        assert len(jobs()) == 1, "Forbid"
        for _ in range(2):
            await one.until(lambda: any(p.status.phase == "Running" for p in one.pods()), 8)
            one.report(next(p for p in one.pods() if p.status.phase == "Running"), "Succeeded", False)
        await one.until(lambda: one.client.find(Job, first.metadata.name, "default") is None, 8)
        assert found().status.lastSuccessfulTime and "SawCompletedJob" in str(one.events("tick"))
        one.client.patch(CronJob, "tick", {"spec": {"suspend": True}}, "default")

    cluster(script)


def test_a_missed_time_is_made_up_for_once_or_given_up(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": body()}}}
        for name, more in (("late", {}), ("gone", {"startingDeadlineSeconds": 1})):
            made = one.create(CronJob, name, {**spec, **more, "suspend": True})
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7200))
            status = {"status": {"lastScheduleTime": stamp}}
            one.client.patch(CronJob, made.metadata.name, status, "default", subresource="status")
            while time.time() % 60 < 2:  # not within its starting deadline
                await one.until(lambda: time.time() % 60 >= 2, 3)
            one.client.patch(CronJob, name, {"spec": {"suspend": False}}, "default")
        await one.until(lambda: "MissSchedule" in str(one.events("gone")))
        await one.until(lambda: [j.metadata.name[:5] for j in one.client.list(Job, "default")] == ["late-"])

    cluster(script)


def test_a_budget_counts_what_may_leave(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Deployment, "web", {"replicas": 4, "selector": WEB, "template": template(app="web")})
        one.create(PodDisruptionBudget, "least", {"minAvailable": 3, "selector": WEB})
        one.create(PodDisruptionBudget, "half", {"maxUnavailable": "50%", "selector": WEB})

        def allowed(name: str) -> Any:
            return one.client.get(PodDisruptionBudget, name, "default").status

        await one.until(lambda: allowed("least") and allowed("least").disruptionsAllowed == 1)
        await one.until(lambda: allowed("half").disruptionsAllowed == 2)
        one.ready = False
        pod = one.pods()[0]
        one.client.delete(Pod, pod.metadata.name, "default", grace_seconds=0)
        await one.until(lambda: allowed("least").disruptionsAllowed == 0 and allowed("half").disruptionsAllowed == 1)
        assert condition(one.client.get(PodDisruptionBudget, "least", "default"), "DisruptionAllowed").status == "False"

    cluster(script)


def test_events_are_forgotten(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Pod, "p", template()["spec"])
        await one.until(lambda: one.events("p"))
        expiry = EventExpiry(one.client)
        for event in one.client.list(Event):
            expiry._said[(event.metadata.namespace, event.metadata.name)] = time.time()
        expiry.sweep(time.time() + 3599)
        assert one.events("p")
        expiry.sweep(time.time() + 3601)
        assert not one.events("p")

    cluster(script)
