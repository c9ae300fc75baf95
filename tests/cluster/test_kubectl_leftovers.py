"""Stock kubectl on what outlives its pods or owners: a Job's count, orphans of a set, a surge, a broken image."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Eventually, Kubectl
from .test_kubectl_rollouts import SET, images, made

pytestmark = pytest.mark.cluster
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec:
  completions: 3
  backoffLimit: 1
  template:
    spec:
      restartPolicy: OnFailure
      terminationGracePeriodSeconds: 0
      initContainers: [{name: i, image: busybox, command: [sh, -c, "%s"]}]
      containers: [{name: c, image: busybox, command: ["true"]}]
"""


def conditions(pod: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pod["status"].get("conditions", [])
    return found


def test_finished_pods_of_a_job_may_be_deleted(kubectl: Kubectl, eventually: Eventually) -> None:
    kubectl("apply", "-f", "-", stdin=JOB.replace('["true"]', '[sleep, "1"]') % ("thrice", "true"))
    for number in ("1", "2"):
        kubectl("wait", "job/thrice", f"--for=jsonpath={{.status.succeeded}}={number}", "--timeout=20s")
        kubectl("delete", "pods", "-l", "job-name=thrice", "--field-selector=status.phase=Succeeded")
    kubectl("wait", "job/thrice", "--for=condition=complete", "--timeout=20s")
    created = [e for e in kubectl.json("events")["items"] if e["reason"] == "SuccessfulCreate"]
    assert len(created) == 3 and kubectl.path("job thrice", ".status.succeeded") == "3"
    kubectl("delete", "job", "thrice", "--timeout=20s")
    eventually(lambda: not kubectl.json("pods", "-l", "job-name=thrice")["items"])


def test_a_job_ends_whose_init_container_fails_again_and_again(kubectl: Kubectl, eventually: Eventually) -> None:
    kubectl("apply", "-f", "-", stdin=JOB % ("never", "exit 1"))
    kubectl("wait", "job/never", "--for=condition=failed", "--timeout=40s")
    assert kubectl.path("job never", ".status.conditions[?(@.type=='Failed')].reason") == "BackoffLimitExceeded"
    assert not kubectl.json("pods", "-l", "job-name=never")["items"]


def test_a_running_pod_of_a_job_ends_when_it_or_the_job_is_deleted(kubectl: Kubectl, eventually: Eventually) -> None:
    sleeps = JOB.replace('["true"]', "[sleep, '600']")
    kubectl("apply", "-f", "-", stdin=sleeps % ("long", "true"))
    kubectl("wait", "pod", "-l", "job-name=long", "--for=condition=ready", "--timeout=30s")
    kubectl("delete", "pod", "-l", "job-name=long", "--timeout=20s")
    assert kubectl.path("job long", ".status.failed") == "1"
    kubectl("wait", "job/long", "--for=jsonpath={.status.ready}=1", "--timeout=30s")  # after ten seconds
    kubectl("delete", "job", "long", "--cascade=foreground", "--timeout=20s")
    assert not kubectl.json("pods", "-l", "job-name=long")["items"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_set_made_anew_goes_on_with_its_orphans(kubectl: Kubectl, eventually: Eventually, kind: str) -> None:
    one = made(kubectl, kind)
    app = one.rpartition("/")[2]
    before = kubectl.path(f"pods -l app={app}", ".items[*].metadata.uid")
    kubectl("delete", one, "--cascade=orphan")
    made(kubectl, kind)
    assert kubectl.path(f"pods -l app={app}", ".items[*].metadata.uid") == before
    kubectl("set", "image", one, "c=nginx:2")
    kubectl("rollout", "status", one, "--timeout=60s")
    assert images(kubectl, app) == {"nginx:2"}


def test_a_daemon_set_surges(kubectl: Kubectl, eventually: Eventually) -> None:
    rolling = "updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"
    one = made(kubectl, "DaemonSet", rolling)
    kubectl("set", "image", one, "c=nginx:2")
    least, most = 3, 3

    def counted() -> bool:
        nonlocal least, most
        items = kubectl.json("pods", "-l", "app=da")["items"]
        staying = [p for p in items if "deletionTimestamp" not in p["metadata"]]
        ready = [p for p in staying if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions(p))]
        least, most = min(least, len(ready)), max(most, len(staying))
        return images(kubectl, "da") == {"nginx:2"}

    eventually(counted, seconds=60)
    assert least == 3 and most <= 4
    kubectl("rollout", "status", one, "--timeout=60s")


def test_a_parallel_set_leaves_a_broken_image(kubectl: Kubectl, eventually: Eventually) -> None:
    text = SET % ("StatefulSet", "par", "replicas: 2\n  podManagementPolicy: Parallel", "par", "par")
    kubectl("apply", "-f", "-", stdin=text.replace("nginx:1", "registry.invalid/none:1"))
    eventually(lambda: len(kubectl.json("pods", "-l", "app=par")["items"]) == 2)
    kubectl("set", "image", "sts/par", "c=nginx:1")
    kubectl("rollout", "status", "sts/par", "--timeout=40s")
    assert images(kubectl, "par") == {"nginx:1"}
