"""Stock kubectl on a cluster with pods: what students type at work must work here."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from minik8s_net import Cluster
from tests.conftest import Home

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed: stock kubectl cannot be tried"),
]
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: nginx, image: "nginx:1.27", ports: [{containerPort: 80}]}]
"""


@pytest.fixture
def space(shared: Cluster, home: Home) -> Any:
    """A namespace for one test, and kubectl bound to it."""
    home.kubectl("--context", "minik8s-shared", "create", "namespace", "play")

    def kubectl(*argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return home.kubectl("--context", "minik8s-shared", "-n", "play", *argv, check=check, stdin=stdin)

    yield kubectl
    home.kubectl("--context", "minik8s-shared", "delete", "namespace", "play", "--timeout=60s")


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def test_a_deployment_from_apply_to_undo(space: Kubectl) -> None:
    assert space("apply", "-f", "-", stdin=WEB).stdout == "deployment.apps/web created\n"
    assert space("apply", "-f", "-", stdin=WEB).stdout == "deployment.apps/web unchanged\n"
    space("rollout", "status", "deployment/web", "--timeout=30s")
    space("expose", "deployment", "web", "--port", "80")
    space("scale", "deployment", "web", "--replicas", "3")
    space("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    space("set", "image", "deployment/web", "nginx=nginx:1.28")
    space("rollout", "status", "deployment/web", "--timeout=30s")
    images = space("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}").stdout.split()
    assert set(images) == {"nginx:1.28"}
    space("rollout", "undo", "deployment/web")
    space("rollout", "status", "deployment/web", "--timeout=30s")
    assert "Endpoints" in space("describe", "service", "web").stdout
    assert space("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "--no-headers").stdout.count(",") == 2


def test_run_exec_logs_cp(space: Kubectl, tmp_path: Any) -> None:
    space("run", "box", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo hello; sleep 600")
    space("wait", "pod/box", "--for=condition=Ready", "--timeout=20s")
    assert space("logs", "box").stdout == "hello\n"
    assert space("exec", "box", "--", "echo", "hi").stdout == "hi\n"
    failed = space("exec", "box", "--", "sh", "-c", "exit 7", check=False)
    assert failed.returncode == 7
    assert space("exec", "-i", "box", "--", "cat", stdin="through\n").stdout == "through\n"
    (tmp_path / "file").write_text("copied")
    space("cp", str(tmp_path / "file"), "box:/tmp/file")
    assert space("exec", "box", "--", "cat", "/tmp/file").stdout == "copied"
    described = space("describe", "pod", "box").stdout
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert reason in described
    space("delete", "pod", "box", "--grace-period=0", "--force")


def test_create_label_patch_and_look(space: Kubectl) -> None:
    space("create", "configmap", "c", "--from-literal=a=1")
    space("create", "secret", "generic", "s", "--from-literal=p=w")
    space("create", "service", "clusterip", "x", "--tcp=80:8080")
    space("label", "configmap", "c", "tier=one")
    space("annotate", "configmap", "c", "note=n")
    for kind, patch in (
        ("merge", '{"data":{"b":"2"}}'),
        ("json", '[{"op":"add","path":"/data/c","value":"3"}]'),
        ("strategic", '{"data":{"d":"4"}}'),
    ):
        space("patch", "configmap", "c", "--type", kind, "-p", patch)
    assert json.loads(space("get", "configmap", "c", "-o", "json").stdout)["data"] == dict(a="1", b="2", c="3", d="4")
    assert space("get", "cm", "-l", "tier=one", "-o", "name").stdout == "configmap/c\n"
    assert "FIELD: podSelector" in space("explain", "networkpolicy.spec.podSelector").stdout
    assert space("auth", "can-i", "create", "pods").stdout == "yes\n"
    assert "web" in space("create", "deployment", "web", "--image=nginx", "--dry-run=client", "-o", "yaml").stdout
    assert "deployments" in space("api-resources").stdout
    assert "is running at" in space("cluster-info").stdout
    refused = space("create", "configmap", "c", check=False)
    assert 'configmaps "c" already exists' in refused.stderr


def test_an_unknown_image_says_what_to_do(space: Kubectl, eventually: Callable[..., Any]) -> None:
    space("run", "odd", "--image=example.com/no/such:1", "--restart=Never")
    eventually(
        lambda: (
            "ErrImagePull" in space("get", "pod", "odd").stdout
            or "ImagePullBackOff" in space("get", "pod", "odd").stdout
        )
    )
    assert "minik8s image" in space("describe", "pod", "odd").stdout
    space("delete", "pod", "odd", "--grace-period=0", "--force")
