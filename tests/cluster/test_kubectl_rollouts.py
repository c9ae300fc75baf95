"""Stock kubectl on workloads and nodes: scale, set image, rollout, cordon and drain."""

from __future__ import annotations

import json

import pytest

from .conftest import Eventually, Kubectl

pytestmark = pytest.mark.cluster
SET = """
apiVersion: apps/v1
kind: %s
metadata: {name: %s}
spec:
  %s
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "nginx:1"}]}
"""


def made(kubectl: Kubectl, kind: str, extra: str = "") -> str:
    """`deployment/web` and the like, rolled out."""
    name = kind.lower()[:2]
    kubectl("apply", "-f", "-", stdin=SET % (kind, name, extra, name, name))
    kubectl("rollout", "status", f"{kind.lower()}/{name}", "--timeout=30s")
    return f"{kind.lower()}/{name}"


def images(kubectl: Kubectl, app: str) -> set[str]:
    return set(kubectl.path(f"pods -l app={app}", ".items[*].spec.containers[0].image").split())


def test_a_deployment_is_scaled_rolled_undone_paused_and_restarted(kubectl: Kubectl) -> None:
    web = made(kubectl, "Deployment", "replicas: 2")
    kubectl("scale", web, "--replicas=3", "--current-replicas=2")
    kubectl("wait", web, "--for=jsonpath={.status.readyReplicas}=3", "--timeout=20s")
    kubectl("set", "image", web, "c=nginx:2")
    kubectl("annotate", web, "kubernetes.io/change-cause=to two")
    assert "successfully rolled out" in kubectl("rollout", "status", web, "--timeout=30s")
    assert images(kubectl, "de") == {"nginx:2"}
    history = kubectl("rollout", "history", web).split()
    assert history[-5:] == ["1", "<none>", "2", "to", "two"]
    assert "nginx:1" in kubectl("rollout", "history", web, "--revision=1")
    kubectl("rollout", "undo", web)
    kubectl("rollout", "status", web, "--timeout=30s")
    assert images(kubectl, "de") == {"nginx:1"}
    kubectl("rollout", "undo", web, "--to-revision=2")
    kubectl("rollout", "pause", web)
    kubectl("set", "image", web, "c=nginx:3")
    kubectl("set", "env", web, "A=1")
    assert images(kubectl, "de") <= {"nginx:1", "nginx:2"}, "paused"
    kubectl("rollout", "resume", web)
    kubectl("rollout", "status", web, "--timeout=30s")
    assert images(kubectl, "de") == {"nginx:3"}
    before = set(kubectl("get", "pods", "-o", "name").split())
    kubectl("rollout", "restart", web)
    kubectl("rollout", "status", web, "--timeout=30s")
    kubectl("wait", "--for=delete", *before, "--timeout=20s")
    kubectl("autoscale", web, "--min=1", "--max=2")
    kubectl("set", "resources", web, "--limits=cpu=100m")
    kubectl("rollout", "status", web, "--timeout=30s")


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_sets_have_a_history_too(kubectl: Kubectl, kind: str, eventually: Eventually) -> None:
    one = made(kubectl, kind, "serviceName: x\n  replicas: 2" if kind == "StatefulSet" else "")
    app = kind.lower()[:2]
    kubectl("set", "image", one, "c=nginx:2")
    kubectl("rollout", "status", one, "--timeout=30s")
    eventually(lambda: images(kubectl, app) == {"nginx:2"})
    revisions = kubectl("get", "controllerrevisions", "--no-headers").splitlines()
    assert sorted(line.split()[2] for line in revisions) == ["1", "2"]
    assert kubectl("rollout", "history", one).split()[-4:] == ["1", "<none>", "2", "<none>"]
    assert "nginx:1" in kubectl("rollout", "history", one, "--revision=1")
    kubectl("rollout", "undo", one)
    kubectl("rollout", "status", one, "--timeout=30s")
    eventually(lambda: images(kubectl, app) == {"nginx:1"})
    revisions = kubectl("get", "controllerrevisions", "--no-headers").splitlines()
    assert sorted(line.split()[2] for line in revisions) == ["2", "3"], "the old revision is the newest now"
    before = kubectl.path(f"pods -l app={app}", ".items[*].metadata.uid").split()
    kubectl("rollout", "restart", one)
    kubectl("rollout", "status", one, "--timeout=30s")
    after = kubectl.path(f"pods -l app={app}", ".items[*].metadata.uid").split()
    assert not set(before) & set(after)
    if kind == "StatefulSet":
        kubectl("scale", one, "--replicas=1")
        kubectl("wait", "pod/st-1", "--for=delete", "--timeout=20s")


def test_jobs_run_in_parallel_and_cron_jobs_make_them(kubectl: Kubectl) -> None:
    job = """
apiVersion: batch/v1
kind: Job
metadata: {name: many}
spec:
  completions: 4
  parallelism: 2
  completionMode: Indexed
  ttlSecondsAfterFinished: 5
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: busybox, command: [sh, -c, "echo $JOB_COMPLETION_INDEX"]}]
"""
    kubectl("apply", "-f", "-", stdin=job)
    kubectl("wait", "job/many", "--for=jsonpath={.status.completedIndexes}=0-3", "--timeout=40s")
    kubectl("wait", "job/many", "--for=delete", "--timeout=20s")
    kubectl("create", "cronjob", "tick", "--image=busybox", "--schedule=* * * * *", "--", "date")
    kubectl("patch", "cronjob", "tick", "-p", '{"spec":{"suspend":true}}')
    assert kubectl("get", "cronjob", "tick", "--no-headers").split()[1:8] == ["*", "*", "*", "*", "*", "<none>", "True"]


def test_cordon_drain_uncordon(kubectl: Kubectl) -> None:
    web = made(kubectl, "Deployment", "replicas: 3")
    made(kubectl, "DaemonSet")
    node = kubectl.path("pods -l app=de", ".items[0].spec.nodeName")
    kubectl("create", "pdb", "two", "--selector=app=de", "--min-available=2")
    kubectl("wait", "pdb/two", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=20s")
    try:
        kubectl("cordon", node)
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        assert "DaemonSet-managed Pods" in kubectl("drain", node, "--timeout=30s", code=1)
        said = kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=40s")
        assert f"node/{node} drained" in said
        kubectl("rollout", "status", web, "--timeout=30s")
        assert node not in kubectl.path("pods -l app=de", ".items[*].spec.nodeName").split()
        assert node in kubectl.path("pods -l app=da", ".items[*].spec.nodeName").split()
    finally:
        kubectl("uncordon", node)
    kubectl("taint", "node", node, "only=me:NoExecute")
    try:
        kubectl("wait", "pods", "-l", "app=da", "--field-selector", f"spec.nodeName={node}", "--for=delete")
    finally:
        kubectl("taint", "node", node, "only-")
    kubectl("wait", "ds/da", "--for=jsonpath={.status.numberReady}=3", "--timeout=20s")


def test_the_service_kubernetes_comes_back(kubectl: Kubectl, eventually: Eventually) -> None:
    before = kubectl.json("svc", "kubernetes", "-n", "default")["metadata"]["uid"]
    kubectl("delete", "svc", "kubernetes", "-n", "default")
    kubectl("delete", "endpointslice", "kubernetes", "-n", "default", "--ignore-not-found")
    eventually(lambda: "kubernetes" in kubectl("get", "svc,endpointslices", "-n", "default", "-o", "name"))
    after = kubectl.json("svc", "kubernetes", "-n", "default")
    assert after["metadata"]["uid"] != before and after["spec"]["clusterIP"] == "10.96.0.2"
    eventually(lambda: "kubernetes" in kubectl("get", "endpointslices", "-n", "default", "-o", "name"))


def test_a_budget_refuses_an_eviction(kubectl: Kubectl) -> None:
    made(kubectl, "Deployment", "replicas: 1")
    kubectl("create", "pdb", "one", "--selector=app=de", "--min-available=1")
    kubectl("wait", "pdb/one", "--for=jsonpath={.status.expectedPods}=1", "--timeout=20s")
    pod = kubectl("get", "pods", "-l", "app=de", "-o", "name").strip().removeprefix("pod/")
    meta = {"name": pod, "namespace": kubectl.namespace}
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta})
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    said = kubectl("create", "--raw", path, "-f", "-", stdin=eviction, code=1)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in said
    assert kubectl.path("pods -l app=de", ".items[*].status.phase") == "Running"


def test_dns_replicas_are_on_different_nodes(kubectl: Kubectl) -> None:
    nodes = kubectl.path("pods -n kube-system -l k8s-app=kube-dns", ".items[*].spec.nodeName").split()
    assert len(nodes) == len(set(nodes)) == 2
