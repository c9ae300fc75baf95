"""The clients people use: kubectl (the real binary), lightkube, kr8s, and the official Python client."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from minik8s_net.client import exec as own_exec
from minik8s_net.client.http import Api as OwnApi
from tests.conftest import need_kubectl

from .serving import Api, Json, Serving

Kubectl = Callable[..., str]
MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: node-1
  containers:
  - name: web
    image: nginx
    ports: [{name: http, containerPort: 80}]
"""
READY = {"status": {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]}}


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    """Some of these libraries leave a socket to the garbage collector: let it be collected here, without a word."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def kubectl(cluster: Serving, namespace: str, tmp_path: Path) -> Kubectl:
    """Runs kubectl in the test's namespace. Returns what it printed; `code` is the expected exit status."""
    need_kubectl()

    def run(*argv: str, stdin: str = "", code: int = 0) -> str:
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}
        command = ["kubectl", "--namespace", namespace, *argv]
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=30)
        assert done.returncode == code, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


def test_kubectl_apply_and_friends(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=MANIFEST).splitlines() == ["service/web created", "pod/web created"]
    assert kubectl("apply", "-f", "-", stdin=MANIFEST).splitlines() == ["service/web unchanged", "pod/web unchanged"]
    changed = MANIFEST.replace("port: 80,", "port: 8080,")
    difference = kubectl("diff", "-f", "-", stdin=changed, code=1)
    assert "-  - port: 80" in difference and "+  - port: 8080" in difference
    assert kubectl("apply", "-f", "-", stdin=changed).splitlines()[0] == "service/web configured"
    assert kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[*].port}") == "8080"
    assert 'unknown field "spec.wrong"' in kubectl(
        "apply", "-f", "-", stdin=MANIFEST.replace("selector:", "wrong:"), code=1
    )
    assert kubectl("apply", "--server-side", "-f", "-", stdin=changed).splitlines()[1] == "pod/web serverside-applied"


def test_kubectl_get_label_patch_delete(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=MANIFEST)
    header, row = kubectl("get", "pods", "-o", "wide").splitlines()
    assert header.split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["web", "0/1", "Pending", "0"] and "node-1" in row
    assert yaml.safe_load(kubectl("get", "pod", "web", "-o", "yaml"))["spec"]["containers"][0]["image"] == "nginx"
    kubectl("label", "pod", "web", "tier=front")
    assert kubectl("get", "pods", "-l", "tier in (front)", "-o", "name") == "pod/web\n"
    kubectl("annotate", "pod", "web", "note=x")
    for kind, patch in (
        ("strategic", '{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}'),
        ("merge", '{"metadata":{"labels":{"tier":null}}}'),
        ("json", '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'),
    ):
        assert "patched" in kubectl("patch", "pod", "web", "--type", kind, "-p", patch)
    columns = "custom-columns=I:.spec.containers[0].image,L:.metadata.labels"
    assert kubectl("get", "pod", "web", "-o", columns).splitlines()[1].split() == ["nginx:2", "map[app:web", "x:y]"]
    assert 'pods "nope" not found' in kubectl("get", "pod", "nope", code=1)
    assert 'pod "web" force deleted' in kubectl("delete", "pod", "web", "--force", "--grace-period=0")
    assert kubectl("delete", "svc", "--all") == 'service "web" deleted\n'


def test_kubectl_creates_by_protobuf(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=password=x")
    kubectl("create", "deployment", "d", "--image=nginx", "--replicas=2")
    kubectl("create", "service", "clusterip", "v", "--tcp=80:8080")
    kubectl("run", "p", "--image=busybox", "--", "sleep", "1")
    kubectl("expose", "deployment", "d", "--port=80")
    kubectl("scale", "deployment", "d", "--replicas=3")
    kubectl("set", "image", "deployment/d", "nginx=nginx:2")
    kubectl("replace", "-f", "-", stdin=kubectl("get", "cm", "c", "-o", "yaml").replace("a: b", "a: c"))
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "c"
    assert kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.replicas} {..image}") == "3 nginx:2"
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert kubectl("create", "serviceaccount", "robot") and kubectl("create", "token", "robot").count(".") == 2


REVIEWS = {
    "authentication.k8s.io/v1 TokenReview": {"token": "x"},
    "authorization.k8s.io/v1 SubjectAccessReview": {"user": "u", "nonResourceAttributes": {"path": "/", "verb": "get"}},
    "authorization.k8s.io/v1 SelfSubjectAccessReview": {"resourceAttributes": {"resource": "pods", "verb": "list"}},
    "authorization.k8s.io/v1 LocalSubjectAccessReview": {"user": "u", "resourceAttributes": {"verb": "list"}},
    "authorization.k8s.io/v1 SelfSubjectRulesReview": {"namespace": "default"},
    "authentication.k8s.io/v1 SelfSubjectReview": None,
}


@pytest.mark.parametrize("what", REVIEWS)
def test_kubectl_creates_reviews_from_files(kubectl: Kubectl, what: str) -> None:
    """Kinds that cannot be patched: kubectl checks their fields itself, by /openapi/v2 in protobuf."""
    version, kind = what.split()
    body = {"apiVersion": version, "kind": kind, **({"spec": REVIEWS[what]} if REVIEWS[what] else {})}
    answer = yaml.safe_load(kubectl("create", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(body)))
    assert answer["kind"] == kind and answer["status"]
    if "spec" in body:
        wrong = yaml.safe_dump({**body, "spec": {"tokem": "x"}})
        assert 'unknown field "tokem"' in kubectl("create", "-f", "-", stdin=wrong, code=1)


def test_kubectl_explains_and_describes(kubectl: Kubectl) -> None:
    assert "hostPort\t<integer>" in kubectl("explain", "pod.spec.containers.ports")
    assert kubectl("explain", "netpol", "--recursive").count("<") > 20
    names = {line.split()[0] for line in kubectl("api-resources", "--no-headers").splitlines()}
    assert {"pods", "services", "networkpolicies", "deployments"} <= names
    kubectl("create", "-f", "-", stdin=MANIFEST)
    assert "IP Family Policy:" in kubectl("describe", "svc", "web")
    assert "Image:" in kubectl("describe", "pod", "web")


def test_kubectl_exec_and_logs(cluster: Serving, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=MANIFEST)
    assert kubectl("exec", "web", "--", "echo", "hello") == "hello\n"
    assert kubectl("exec", "-i", "web", "--", "tr", "a-z", "A-Z", stdin="shout") == "SHOUT"
    assert "exit code 3" in kubectl("exec", "web", "--", "sh", "-c", "exit 3", code=3)
    cluster.kubelets.said["web"] = [b"a line\n"]
    assert kubectl("logs", "web") == "a line\n"


def test_lightkube(cluster: Serving, namespace: str) -> None:
    from lightkube import Client, KubeConfig
    from lightkube.core.exceptions import ApiError
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap

    client = Client(config=KubeConfig.from_file(cluster.kubeconfig), namespace=namespace)
    made = client.create(ConfigMap(metadata=ObjectMeta(name="a"), data={"x": "1"}))
    assert made.metadata and made.metadata.resourceVersion
    events: Iterator[Any] = client.watch(ConfigMap, resource_version=made.metadata.resourceVersion, server_timeout=5)
    client.patch(ConfigMap, "a", {"data": {"x": "2"}})
    client.delete(ConfigMap, "a")
    seen = [next(events) for _ in range(2)]
    assert [(type_, obj.data) for type_, obj in seen] == [("MODIFIED", {"x": "2"}), ("DELETED", {"x": "2"})]
    with pytest.raises(ApiError) as missing:
        client.get(ConfigMap, "a")
    assert missing.value.status.code == 404
    events.close()  # type: ignore[attr-defined]
    client._client._client.close()  # (lightkube has no way to close)


def test_the_official_client(cluster: Serving, namespace: str) -> None:
    from kubernetes import client, config, watch
    from kubernetes.stream import stream

    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
        core = client.CoreV1Api(connection)
        made = core.create_namespaced_pod(namespace, list(yaml.safe_load_all(MANIFEST))[1])
        core.patch_namespaced_pod("web", namespace, {"metadata": {"labels": {"x": "y"}}})
        watcher = watch.Watch()
        since = made.metadata.resource_version
        for event in watcher.stream(core.list_namespaced_pod, namespace, resource_version=since, timeout_seconds=5):
            assert event["object"].metadata.labels == {"app": "web", "x": "y"}
            watcher.stop()
        command = ["sh", "-c", "echo hi; echo no >&2; exit 4"]
        running = stream(
            core.connect_get_namespaced_pod_exec, "web", namespace,
            command=command, stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
        )  # fmt: skip
        with closing(running):
            running.run_forever(timeout=5)
            assert (running.read_stdout(), running.read_stderr(), running.returncode) == ("hi\n", "no\n", 4)
        core.delete_namespaced_pod("web", namespace, grace_period_seconds=0)
        assert core.list_namespaced_pod(namespace).items == []


def test_kr8s(cluster: Serving, api: Api, namespace: str) -> None:
    import kr8s.asyncio
    from kr8s.asyncio.objects import Pod

    async def script() -> Json:
        connection = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=namespace)
        pod = await Pod(list(yaml.safe_load_all(MANIFEST))[1], api=connection)
        await pod.create()
        await pod.label(x="y")
        await pod.patch(READY, subresource="status")  # as a kubelet would: kr8s executes in ready pods only
        done = await pod.exec(["echo", "hi"])
        found = [each.name async for each in connection.get("pods", label_selector={"x": "y"})]
        await pod.delete(grace_period=5)
        await connection._session.aclose()  # (kr8s has no way to close)
        return {"stdout": done.stdout, "code": done.returncode, "found": found}

    assert asyncio.run(script()) == {"stdout": b"hi\n", "code": 0, "found": ["web"]}
    assert api.get(f"/api/v1/namespaces/{namespace}/pods/web")["metadata"]["deletionGracePeriodSeconds"] == 5


def test_our_own_exec_sends_while_it_reads(cluster: Serving, kubectl: Kubectl, namespace: str) -> None:
    """Messages larger than a read of the socket, and more stdin than all buffers on the way hold."""
    kubectl("create", "-f", "-", stdin=MANIFEST)
    own = OwnApi.load(cluster.kubeconfig)
    much = bytes(range(97, 123)) * 800_000
    answer = own_exec.run(own, namespace, "web", ["cat"], stdin=much)
    assert answer.stdout == much.decode() and answer.exit_code == 0
    late = own_exec.run(own, namespace, "web", ["sh", "-c", "echo err >&2; sleep 0.3; wc -c; exit 3"], stdin=much)
    assert (late.stdout.strip(), late.stderr, late.exit_code) == (str(len(much)), "err\n", 3)
    assert own_exec.run(own, namespace, "web", ["seq", "200000"]).stdout.splitlines()[-1] == "200000"
