"""Jobs: how pods are counted that may be gone, when too many have failed, and who waits for whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod

from minik8s_net.api.kinds import by_kind
from minik8s_net.apiserver.registry.options import DeleteOptions
from minik8s_net.controllers.job import JobController
from minik8s_net.controllers.job_backoff import Backoff
from minik8s_net.controllers.job_plan import Tally
from minik8s_net.controllers.job_tracking import FAILURES, FINALIZER, INDEX, Counted, numbers, ranges

from .conftest import Cluster, template

Run = Callable[[Callable[[Cluster], Any]], None]
NOW = 1_700_000_000.0


def body(policy: str = "Never") -> dict[str, Any]:
    made = template("busybox")
    made["spec"]["restartPolicy"] = policy
    return made


def stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def job_of(status: dict[str, Any] | None = None, policy: str = "Never", **spec: Any) -> Any:
    spec = {"completions": 3, "parallelism": 3, "template": body(policy), **spec}
    return Job.from_dict({"metadata": {"name": "j"}, "spec": spec, "status": status or {}})


def pod(name: str, phase: str = "Running", index: int | None = None, ended: float = NOW, **more: Any) -> Pod:
    """`more`: failures (of its index before it), tracked, restarts, init (restarts of its init container)."""
    notes = {INDEX: str(index), FAILURES: str(more.get("failures", 0))} if index is not None else {}
    meta = {"name": name, "uid": name, "annotations": notes, "creationTimestamp": stamp(ended)}
    if more.get("tracked", True):
        meta["finalizers"] = [FINALIZER]
    state = {"terminated": {"exitCode": 1, "finishedAt": stamp(ended)}} if phase in ("Succeeded", "Failed") else {}
    one = {"name": "c", "ready": False, "image": "x", "imageID": "x", "state": state}
    status = {"phase": phase, "containerStatuses": [{**one, "restartCount": more.get("restarts", 0)}]}
    if "init" in more:
        status["initContainerStatuses"] = [{**one, "name": "i", "restartCount": more["init"]}]
    return Pod.from_dict({"metadata": meta, "spec": {"containers": []}, "status": status})


def reason(job: Any, *pods: Pod) -> str | None:
    end = Tally.of(job, list(pods)).exceeded()
    return end and end["reason"]


def test_restarts_count_as_kubernetes_counts_them() -> None:
    """OnFailure: as many restarts as the limit are too many; failed pods: only more than the limit are."""
    on_failure = {"policy": "OnFailure", "backoffLimit": 3}
    assert reason(job_of(**on_failure), pod("a", restarts=2)) is None
    assert reason(job_of(**on_failure), pod("a", restarts=3)) == "BackoffLimitExceeded"
    assert reason(job_of(**on_failure), pod("a", "Pending", init=2), pod("b", restarts=1)) == "BackoffLimitExceeded"
    assert reason(job_of(policy="OnFailure", backoffLimit=0), pod("a")) is None
    assert reason(job_of(policy="OnFailure", backoffLimit=0), pod("a", init=1)) == "BackoffLimitExceeded"
    assert reason(job_of(backoffLimit=1), pod("a", restarts=9)) is None
    failed = [pod(name, "Failed") for name in "abc"]
    assert reason(job_of(backoffLimit=2), *failed[:2]) is None
    assert reason(job_of(backoffLimit=2), *failed) == "BackoffLimitExceeded"
    assert reason(job_of({"failed": 2}, backoffLimit=2), failed[0]) == "BackoffLimitExceeded", (
        "of pods that are gone too"
    )


def test_each_index_waits_alone_and_a_success_ends_the_wait() -> None:
    indexed = {"completionMode": "Indexed", "backoffLimitPerIndex": 5}
    failed = pod("a", "Failed", 0, NOW, failures=1)
    tally = Tally.of(job_of(**indexed), [failed])
    assert tally.to_start(Backoff(), NOW + 5) == ([1, 2], 15.0), "20 s: its second failure"
    assert tally.to_start(Backoff(), NOW + 20) == ([0, 1, 2], 0.0)
    assert Tally.of(job_of(**indexed, parallelism=1), [failed]).to_start(Backoff(), NOW)[0] == [1]
    assert tally.note(None)[1] == [], "kept for its count"
    again = pod("b", index=0, failures=2)
    assert [p.metadata.name for p in Tally.of(job_of(**indexed), [failed, again]).note(None)[1]] == ["a"]  # type: ignore[union-attr]
    lost = Tally.of(job_of(**indexed), [pod("c", "Failed", 0, failures=5)])
    assert lost.lost == {0} and lost.to_start(Backoff(), NOW)[0] == [1, 2]
    bad, worse, good = (
        pod("a", "Failed", ended=NOW),
        pod("b", "Failed", ended=NOW + 9),
        pod("c", "Succeeded", ended=NOW + 5),
    )
    assert Backoff().after([], [bad, worse]).left(NOW + 9) == 20.0
    assert Backoff(4, NOW).after([good], []).left(NOW + 5) == 0.0
    assert Backoff(4, NOW).after([good], [bad, worse]) == Backoff(1, NOW + 9)
    assert Tally.of(job_of(), []).to_start(Backoff(1, NOW), NOW + 4) == ([], 6.0)


def test_ranges_are_read_as_they_are_written() -> None:
    for some in (set(), {3}, {1, 2}, {1, 3, 4, 5, 7}, {0, 1, 2, 9}):
        assert numbers(ranges(some)) == some
    assert numbers("x,2-,4") == {2, 4}


def test_a_uid_is_added_to_the_numbers_when_its_pod_is_let_go() -> None:
    noted = Counted.of(job_of({"failed": 1, "uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b", "c"]}}))
    settled = noted.settled({"c"})
    assert (settled.succeeded, settled.failed, settled.new_succeeded, settled.new_failed) == (1, 2, (), ("c",))


def pods_of(one: Cluster, phase: str = "", job: str = "j") -> list[Any]:
    found = one.client.list(Pod, "default", {"job-name": job})
    return [p for p in found if not phase or p.status.phase == phase]


def status(one: Cluster, job: str = "j") -> Any:
    return one.client.get(Job, job, "default").status


def just_failed() -> dict[str, Any]:
    state = {"terminated": {"exitCode": 1, "finishedAt": stamp(time.time())}}
    entry = {"name": "c", "ready": False, "restartCount": 0, "image": "x", "imageID": "x", "state": state}
    return {"phase": "Failed", "containerStatuses": [entry]}


def ended(one: Cluster, job: str = "j") -> str:
    found = [c.type for c in status(one, job).conditions or () if c.type in ("Complete", "Failed")]
    return found[0] if found else ""


def test_a_pod_that_succeeded_and_was_deleted_is_not_run_again(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        made: set[str] = set()
        one.client.watch(Pod, lambda change: made.add(change.new.metadata.uid))  # type: ignore[union-attr, arg-type]
        one.create(Job, "j", {"completions": 3, "parallelism": 1, "template": body()})
        for number in range(1, 4):
            await one.until(lambda: pods_of(one, "Running"))
            (running,) = pods_of(one, "Running")
            one.report(running, "Succeeded", False)
            one.client.delete(Pod, running.metadata.name, "default")
            await one.until(lambda n=number: status(one).succeeded == n)
        await one.until(lambda: ended(one) == "Complete")
        assert len(made) == 3 and not pods_of(one)
        assert status(one).succeeded == 3 and not status(one).uncountedTerminatedPods.succeeded

    cluster(script)


def test_deleted_pods_count_as_failed_but_not_those_that_the_job_deletes(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.create(Job, "j", {"parallelism": 3, "completions": 9, "backoffLimit": 1, "template": body()})
        await one.until(lambda: len(pods_of(one, "Running")) == 3)
        one.client.patch(Job, "j", {"spec": {"parallelism": 2}}, "default")
        await one.until(lambda: len(pods_of(one)) == 2)
        one.client.patch(Job, "j", {"spec": {"suspend": True}}, "default")
        await one.until(lambda: not pods_of(one))
        assert not status(one).failed
        one.client.patch(Job, "j", {"spec": {"suspend": False}}, "default")
        await one.until(lambda: len(pods_of(one, "Running")) == 2)
        one.client.delete(Pod, pods_of(one)[0].metadata.name, "default")
        await one.until(lambda: status(one).failed == 1)
        one.client.delete(Pod, pods_of(one)[0].metadata.name, "default")
        await one.until(lambda: ended(one) == "Failed")
        assert status(one).failed == 2 and not pods_of(one)

    cluster(script)


def test_no_pod_is_held_by_the_finalizer_of_a_job_that_is_gone(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        for how in ("Background", "Foreground"):
            one.create(Job, "j", {"parallelism": 2, "template": body()})
            await one.until(lambda: len(pods_of(one, "Running")) == 2)
            one.client.delete_tree(by_kind("batch/v1", "Job"), "default", "j", DeleteOptions(propagation=how))  # type: ignore[arg-type]
            await one.until(lambda: not pods_of(one) and one.client.find(Job, "j", "default") is None)
        one.create(Job, "j", {"parallelism": 2, "template": body()})
        await one.until(lambda: len(pods_of(one, "Running")) == 2)
        one.client.delete_tree(by_kind("batch/v1", "Job"), "default", "j", DeleteOptions(propagation="Orphan"))  # type: ignore[arg-type]
        await one.until(lambda: not any(p.metadata.finalizers or p.metadata.ownerReferences for p in pods_of(one)))
        assert len(pods_of(one, "Running")) == 2
        one.create(Pod, "left", template()["spec"], finalizers=[FINALIZER])
        await one.until(lambda: not one.client.get(Pod, "left", "default").metadata.finalizers)

    cluster(script)


def test_with_a_limit_per_index_a_failing_index_holds_up_no_other(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"completions": 3, "parallelism": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 3}
        one.create(Job, "j", {**spec, "template": body()})
        for index, phase in (("0", "Failed"), ("1", "Succeeded"), ("2", "Succeeded")):
            await one.until(lambda: pods_of(one, "Running"))
            (running,) = pods_of(one, "Running")
            assert running.metadata.annotations[INDEX] == index and running.metadata.annotations[FAILURES] == "0"
            if phase == "Failed":
                one.client.patch(Pod, running.metadata.name, {"status": just_failed()}, "default", subresource="status")
            else:
                one.report(running, phase, False)
        await one.until(lambda: status(one).completedIndexes == "1,2")
        assert not pods_of(one, "Running") and not ended(one)

    cluster(script)


def test_a_running_pod_gets_back_a_finalizer_that_it_lost(cluster: Run) -> None:
    """A controller died between taking it off and deleting the pod, or somebody took it off."""

    async def script(one: Cluster) -> None:
        one.create(Job, "j", {"template": body()})
        await one.until(lambda: pods_of(one, "Running"))
        (running,) = pods_of(one)
        one.client.patch(Pod, running.metadata.name, {"metadata": {"finalizers": None}}, "default")
        await one.until(lambda: pods_of(one)[0].metadata.finalizers == [FINALIZER])
        one.report(running, "Succeeded", False)
        await one.until(lambda: ended(one) == "Complete")
        assert status(one).succeeded == 1

    cluster(script)


class Killed(BaseException):
    pass


class Dying:
    """A client whose user is killed after so many writes."""

    def __init__(self, client: Any, writes: int) -> None:
        self.client, self.left = client, writes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if name not in ("create", "patch", "delete", "replace"):
            return found

        def write(kind: type[Any], *args: Any, **more: Any) -> Any:
            result = found(kind, *args, **more)
            if kind in (Job, Pod):  # Events don't count
                self.left -= 1
                if self.left == 0:
                    raise Killed
            return result

        return write


@pytest.mark.parametrize("indexed", [False, True])
def test_a_controller_killed_after_any_write_counts_every_pod_once(tmp_path: Path, indexed: bool) -> None:
    """Pods end, the controller dies after its next 1, 2, 3 … writes, users delete pods; the next controller goes on."""
    for writes in range(1, 14):
        (tmp_path / str(writes)).mkdir()
        one = Cluster(tmp_path / str(writes))
        mode = {"completionMode": "Indexed" if indexed else "NonIndexed"}
        one.create(Job, "j", {**mode, "completions": 3, "parallelism": 3, "backoffLimit": 9, "template": body()})
        made: set[str] = set()
        one.client.watch(Pod, lambda change, made=made: made.add(change.new.metadata.uid))  # type: ignore[misc]

        def serve(writes: int, one: Cluster = one) -> None:
            controller = JobController(Dying(one.client, writes))  # type: ignore[arg-type]
            ends = [controller._pods.watch(), one.client.watch(Job, lambda change: None)]
            try:
                for _ in range(4 if writes > 99 else 1):
                    asyncio.run(controller._reconcile(("default", "j")))
            except Killed:
                pass
            finally:
                for end in ends:
                    end()

        serve(100)
        assert len(made) == 3
        for running, phase in zip(pods_of(one), ("Succeeded", "Succeeded", "Failed"), strict=True):
            one.report(running, phase, False)
        serve(writes)
        for over in [p for p in pods_of(one) if p.status.phase != "Pending"]:
            one.client.delete(Pod, over.metadata.name, "default")
        serve(100)
        assert (status(one).succeeded, status(one).failed) == (2, 1), f"after {writes} writes"
        assert not status(one).uncountedTerminatedPods.succeeded and not status(one).uncountedTerminatedPods.failed
        assert all(p.status.phase == "Pending" for p in pods_of(one)), "nothing holds a counted pod"
        one.client.store.close()


def test_a_job_started_by_hand_holds_up_no_schedule(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        spec = {"schedule": "@every 1s", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": body()}}}
        made = one.create(CronJob, "tick", {**spec, "suspend": True})
        owner = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": "tick",
            "uid": made.metadata.uid,
            "controller": True,
        }
        notes = {"cronjob.kubernetes.io/instantiate": "manual"}
        one.create(Job, "mine", {"template": body()}, ownerReferences=[owner], annotations=notes)
        await one.until(lambda: pods_of(one, "Running", "mine"))
        assert not one.client.get(CronJob, "tick", "default").status.active
        one.client.patch(CronJob, "tick", {"spec": {"suspend": False}}, "default")
        await one.until(lambda: len(one.client.list(Job, "default")) == 2, 8)
        one.client.patch(CronJob, "tick", {"spec": {"suspend": True}}, "default")

    cluster(script)


def test_a_namespace_says_what_holds_it(cluster: Run) -> None:
    async def script(one: Cluster) -> None:
        one.client.create(Namespace, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        meta = {"name": "held", "namespace": "shop", "finalizers": ["example.com/mine"]}
        one.client.create(ConfigMap, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        one.client.delete(Namespace, "shop")

        def messages() -> dict[str, str]:
            found: Any = one.client.get(Namespace, "shop").status
            return {c.type: c.message for c in found.conditions or ()}

        await one.until(lambda: "NamespaceFinalizersRemaining" in messages())
        await one.until(
            lambda: messages()["NamespaceContentRemaining"].endswith("remaining: configmaps. has 1 resource instances")
        )
        assert messages()["NamespaceFinalizersRemaining"].endswith(
            "remaining: example.com/mine in 1 resource instances"
        )
        one.client.patch(ConfigMap, "held", {"metadata": {"finalizers": None}}, "shop")
        await one.until(lambda: one.client.find(Namespace, "shop") is None)

    cluster(script)


def test_a_pod_that_no_kubelet_will_end_is_failed_and_counted(cluster: Run) -> None:
    """Deleted before it had a node, or with its node: Kubernetes' PodGC writes Failed first."""

    async def script(one: Cluster) -> None:
        one.ready = False
        nowhere = {**body(), "spec": {**body()["spec"], "nodeSelector": {"disk": "none"}}}
        one.create(Job, "j", {"template": nowhere, "podReplacementPolicy": "Failed"})
        await one.until(lambda: len(one.client.list(Pod, "default")) == 1)
        (first,) = one.client.list(Pod, "default")
        phases: list[str] = []
        one.client.watch(Pod, lambda change: phases.append(change.new.status.phase))
        one.client.delete(Pod, first.metadata.name, "default")
        await one.until(lambda: one.client.find(Pod, first.metadata.name, "default") is None)
        await one.until(lambda: one.client.get(Job, "j", "default").status.failed == 1)  # a back-off, then another
        assert phases[-1] == "Failed" and not one.client.get(Job, "j", "default").status.terminating

    cluster(script)
