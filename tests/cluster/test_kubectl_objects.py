"""Stock kubectl on objects: create, look, change, delete. Not exit codes alone: the effect is looked at."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Kubectl

pytestmark = pytest.mark.cluster
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
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
      containers: [{name: nginx, image: "nginx:1.27", ports: [{name: http, containerPort: 80}]}]
"""
EVERYTHING = """
apiVersion: v1
kind: ConfigMap
metadata: {name: all}
data: {k: v}
---
apiVersion: v1
kind: Secret
metadata: {name: all}
stringData: {password: secret}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: all}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all}
spec: {podSelector: {matchLabels: {app: none}}, policyTypes: [Ingress]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: all}
spec: {minAvailable: 1, selector: {matchLabels: {app: none}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: all}
spec:
  serviceName: web
  selector: {matchLabels: {app: set}}
  template: &template
    metadata: {labels: {app: set}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: nginx}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: all}
spec: {selector: {matchLabels: {app: daemon}}, template: {metadata: {labels: {app: daemon}}, spec: {
  terminationGracePeriodSeconds: 0, containers: [{name: c, image: nginx}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: all}
spec: {replicas: 1, selector: {app: rc}, template: {metadata: {labels: {app: rc}}, spec: {
  terminationGracePeriodSeconds: 0, containers: [{name: c, image: nginx}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: all}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: ["true"]}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: all}
spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {
  restartPolicy: Never, containers: [{name: c, image: busybox, command: ["true"]}]}}}}}
"""


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=WEB).splitlines() == ["service/web created", "deployment.apps/web created"]
    again = kubectl("apply", "-f", "-", stdin=WEB).splitlines()
    assert again == ["service/web unchanged", "deployment.apps/web unchanged"]
    changed = WEB.replace("port: 80,", "port: 8080,")
    difference = kubectl("diff", "-f", "-", stdin=changed, code=1)
    assert "-  - port: 80" in difference and "+  - port: 8080" in difference
    assert kubectl.path("svc web", ".spec.ports[0].port") == "80", "diff changes nothing"
    assert kubectl("apply", "-f", "-", stdin=changed).splitlines()[0] == "service/web configured"
    assert kubectl.path("svc web", ".spec.ports[*].port") == "8080"
    kubectl("diff", "-f", "-", stdin=changed)
    two = kubectl(
        "apply", "-f", "-", stdin=WEB.replace("selector: {app", "nonsense: {app").replace("80,", "81,"), code=1
    )
    assert 'unknown field "spec.nonsense"' in two
    assert "port: 8080" in kubectl("apply", "view-last-applied", "svc/web")
    assert "deleted" in kubectl("delete", "-f", "-", stdin=WEB)
    kubectl("get", "svc", "web", code=1)


def test_apply_kustomize_and_server_side(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    kustomization = {"resources": ["web.yaml"], "namePrefix": "pre-", "images": [{"name": "nginx", "newTag": "1.28"}]}
    generator = {"configMapGenerator": [{"name": "settings", "literals": ["a=1"]}]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps({**kustomization, **generator}))
    made = kubectl("apply", "-k", str(tmp_path))
    assert "deployment.apps/pre-web created" in made and "configmap/pre-settings-" in made
    assert kubectl.path("deploy pre-web", ".spec.template.spec.containers[0].image") == "nginx:1.28"
    assert "pre-web deleted" in kubectl("delete", "-k", str(tmp_path)).replace('"', "")
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '%s'}\n"
    assert kubectl("apply", "--server-side", "-f", "-", stdin=config % 1) == "configmap/ssa serverside-applied\n"
    assert kubectl("apply", "--server-side", "-f", "-", stdin=config % 2) == "configmap/ssa serverside-applied\n"
    assert kubectl.path("cm ssa", ".data.a") == "2"


def test_get_in_every_form(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    header, *rows = kubectl("get", "pods", "-o", "wide").splitlines()
    assert header.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"] and len(rows) == 2
    assert all(row.split()[1:4] == ["1/1", "Running", "0"] and "10.244." in row for row in rows)
    assert len({row.split()[6] for row in rows}) == 2, "replicas spread over nodes"
    assert "kind: Deployment" in kubectl("get", "deploy", "web", "-o", "yaml")
    assert kubectl.json("deploy", "web")["status"]["readyReplicas"] == 2
    columns = kubectl("get", "deploy", "-o", "custom-columns=N:.metadata.name,I:..image").splitlines()
    assert [line.split() for line in columns] == [["N", "I"], ["web", "nginx:1.27"]]
    assert set(kubectl("get", "deploy,svc", "-o", "name").split()) == {"deployment.apps/web", "service/web"}
    everywhere = kubectl("get", "pods", "-A", "--no-headers").splitlines()
    assert {line.split()[0] for line in everywhere} >= {"kube-system", kubectl.namespace}
    shown = kubectl("get", "all")
    assert all(kind in shown for kind in ("pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-"))
    for name, value in (("b", "1"), ("a", "3"), ("c", "2")):
        kubectl("create", "configmap", name, f"--from-literal=n={value}")
    names = kubectl("get", "cm", "--sort-by=.data.n", "-o", "name").split()
    assert [n for n in names if "root" not in n] == ["configmap/b", "configmap/c", "configmap/a"]
    table = kubectl("get", "cm", "--sort-by=.metadata.name").splitlines()
    assert [line.split()[0] for line in table] == ["NAME", "a", "b", "c", "kube-root-ca.crt"]
    assert kubectl("get", "pods", "-l", "app in (web),app!=x", "-o", "name").count("pod/") == 2
    assert kubectl("get", "pods", "--field-selector", "status.phase=Failed").strip() == ""
    assert "LABELS" in kubectl("get", "pods", "--show-labels") and "APP" in kubectl("get", "pods", "-L", "app")
    assert kubectl("get", "ns", kubectl.namespace, "-o", "go-template={{.status.phase}}") == "Active"
    assert 'pods "nope" not found' in kubectl("get", "pod", "nope", code=1)
    assert "the server doesn't have a resource type" in kubectl("get", "nonsense", code=1)


def test_get_watch(kubectl: Kubectl) -> None:
    watch = kubectl.start("get", "cm", "-w", "-o", "name")
    table = kubectl.start("get", "cm", "--watch-only", "--no-headers")
    try:
        assert watch.stdout and table.stdout
        assert watch.stdout.readline() == "configmap/kube-root-ca.crt\n"
        time.sleep(0.3)
        kubectl("create", "configmap", "late", "--from-literal=a=b")
        assert watch.stdout.readline() == "configmap/late\n"
        assert table.stdout.readline().split()[:2] == ["late", "1"]
        kubectl("delete", "configmap", "late")
        assert watch.stdout.readline() == "configmap/late\n"
    finally:
        for process in (watch, table):
            process.kill()
            process.communicate()


def test_every_kind_with_behaviour_is_listed_and_described(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB + "---" + EVERYTHING)
    kubectl("wait", "job/all", "--for=condition=Complete", "--timeout=30s")
    kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    kinds = {
        "configmap": "Data\n====", "secret": "password:  6 bytes", "serviceaccount": "Tokens:",
        "networkpolicy": "Allowing ingress traffic", "poddisruptionbudget": "Min available:  1",
        "statefulset": "Replicas:           1 desired", "daemonset": "Desired Number of Nodes Scheduled: 3",
        "replicationcontroller": "Replicas:     1 current / 1 desired", "job": "Pods Statuses:",
        "cronjob": "Schedule:                      0 0 1 1 *",
    }  # fmt: skip
    shown = kubectl("describe", ",".join(kinds), "all")
    for kind, part in kinds.items():
        assert part in shown, f"{kind}: {part!r} missing in\n{shown}"
        assert kubectl("get", kind, "all", "--no-headers", "-o", "wide").startswith("all ")
    for kind, part in {
        "deployment/web": "2 desired | 2 updated | 2 total | 2 available",
        "service/web": "Endpoints:                10.244.",
        "node/node-2": "Ready", "namespace/default": "Status:       Active",
        "lease/node-1 -n kube-node-lease": "node-1",
    }.items():  # fmt: skip
        assert part in kubectl("describe", *kind.split())
    for kind in ("pods", "replicasets", "endpointslices", "endpoints"):
        assert "Name:" in kubectl("describe", kind, "-l", "app=web"), kind
    assert "ScalingReplicaSet" in kubectl("describe", "deploy", "web")
    assert "SuccessfulCreate" in kubectl("describe", "rs", "-l", "app=web")
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert reason in kubectl("describe", "pods", "-l", "app=web")


def test_create_what_kubectl_generates(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "deployment", "d", "--image=nginx", "--replicas=2", "--port=80")
    kubectl("create", "service", "clusterip", "ip", "--tcp=80:8080")
    kubectl("create", "service", "nodeport", "np", "--tcp=80:8080")
    kubectl("create", "service", "externalname", "ext", "--external-name=example.test")
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    (tmp_path / "file.txt").write_text("content")
    kubectl("create", "configmap", "f", f"--from-file={tmp_path}/file.txt")
    kubectl("create", "secret", "generic", "s", "--from-literal=p=w")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "job", "j", "--image=busybox", "--", "true")
    kubectl("create", "cronjob", "cj", "--image=busybox", "--schedule=*/5 * * * *", "--", "date")
    kubectl("create", "job", "by-hand", "--from=cronjob/cj")
    kubectl("create", "quota", "q", "--hard=pods=50")
    kubectl("create", "poddisruptionbudget", "pdb", "--selector=app=d", "--min-available=1")
    kubectl("create", "priorityclass", f"p-{kubectl.namespace}", "--value=10")
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:default")
    kubectl("create", "ingress", "i", "--rule=host.test/*=d:80")
    assert kubectl.path("svc np", ".spec.ports[0].nodePort").isdigit()
    assert kubectl.path("cm f", ".data['file\\.txt']") == "content"
    assert kubectl.path("job by-hand", ".metadata.ownerReferences[0].name") == "cj"
    kubectl("wait", "job/j", "job/by-hand", "--for=condition=Complete", "--timeout=30s")
    kubectl("wait", "deploy/d", "--for=condition=Available", "--timeout=30s")
    assert kubectl("create", "token", "robot").count(".") == 2
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "gen-"}}
    spec = {"containers": [{"name": "c", "image": "nginx"}], "terminationGracePeriodSeconds": 0}
    assert kubectl("create", "-f", "-", stdin=json.dumps({**pod, "spec": spec})).startswith("pod/gen-")
    dry = kubectl("create", "deployment", "x", "--image=nginx", "--dry-run=server", "-o", "name")
    assert dry == "deployment.apps/x\n" and "not found" in kubectl("get", "deploy", "x", code=1)
    assert 'configmaps "c" already exists' in kubectl("create", "configmap", "c", code=1)


def test_label_annotate_patch_edit_replace(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    kubectl("label", "cm", "c", "tier=one")
    assert "already has a value" in kubectl("label", "cm", "c", "tier=two", code=1)
    kubectl("label", "cm", "c", "tier=two", "--overwrite")
    assert kubectl("get", "cm", "-l", "tier=two", "-o", "name") == "configmap/c\n"
    kubectl("label", "cm", "c", "tier-")
    kubectl("annotate", "cm", "c", "note=n")
    kubectl("patch", "cm", "c", "--type=merge", "-p", '{"data":{"b":"2"}}')
    kubectl("patch", "cm", "c", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]')
    kubectl("patch", "cm", "c", "-p", '{"data":{"d":"4"}}')
    found = kubectl.json("cm", "c")
    assert found["data"] == dict(a="1", b="2", c="3", d="4") and found["metadata"]["annotations"] == {"note": "n"}
    assert "labels" not in found["metadata"]
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/a: \\"1\\"/a: edited/" "$1"\n')
    editor.chmod(0o755)
    done = kubectl.run("edit", "cm", "c", EDITOR=str(editor))
    assert done.stdout == "configmap/c edited\n", done.stderr
    assert kubectl.path("cm c", ".data.a") == "edited"
    assert "cancelled" in kubectl.run("edit", "cm", "c", EDITOR="true").stderr
    kubectl("replace", "-f", "-", stdin=kubectl("get", "cm", "c", "-o", "yaml").replace("edited", "replaced"))
    assert kubectl.path("cm c", ".data.a") == "replaced"
    stale = kubectl("get", "cm", "c", "-o", "yaml")
    kubectl("patch", "cm", "c", "-p", '{"data":{"d":"5"}}')
    assert "the object has been modified" in kubectl("replace", "-f", "-", stdin=stale, code=1)
    kubectl("replace", "--force", "-f", "-", stdin=stale)
    assert kubectl.path("cm c", ".data.d") == "4"


def test_delete_by_name_label_all_and_cascade(kubectl: Kubectl) -> None:
    for name in "abcd":
        kubectl("create", "configmap", name)
    kubectl("label", "cm", "a", "b", "go=yes")
    assert kubectl("delete", "cm", "-l", "go=yes").count("deleted") == 2
    kubectl("delete", "cm", "c")
    assert kubectl("delete", "cm", "c", "--ignore-not-found") == ""
    assert 'configmap "d" deleted' in kubectl("delete", "cm", "--all")
    for how in ("orphan", "foreground", "background"):
        kubectl("apply", "-f", "-", stdin=WEB)
        kubectl("rollout", "status", "deploy/web", "--timeout=30s")
        kubectl("delete", "deploy", "web", f"--cascade={how}")
        if how == "orphan":
            assert kubectl.path("rs -l app=web", ".items[*].metadata.ownerReferences") == ""
            kubectl("delete", "rs", "--all", "--cascade=foreground")
            assert kubectl("get", "pods", "-o", "name") == "", "foreground: the pods went first"
        elif how == "foreground":
            assert kubectl("get", "rs,pods", "-o", "name") == ""
        else:
            kubectl("wait", "pods", "-l", "app=web", "--for=delete", "--timeout=20s")
    kubectl("delete", "svc", "web", "--now")


def test_explain_discovery_and_permissions(kubectl: Kubectl) -> None:
    assert "FIELD: podSelector" in kubectl("explain", "networkpolicy.spec.podSelector")
    assert "hostPort\t<integer>" in kubectl("explain", "pod.spec.containers.ports")
    assert kubectl("explain", "deploy", "--recursive").count("<") > 100
    assert 'field "nonsense" does not exist' in kubectl("explain", "pod.nonsense", code=1)
    names = {line.split()[0] for line in kubectl("api-resources", "--no-headers").splitlines()}
    assert {"pods", "services", "networkpolicies", "deployments", "cronjobs", "leases"} <= names
    assert "pods" not in kubectl("api-resources", "--namespaced=false", "-o", "name").split()
    assert "apps/v1" in kubectl("api-versions").split()
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "Username" in kubectl("auth", "whoami")
    assert "is running at" in kubectl("cluster-info")
    assert "v1.33" in kubectl("version")
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_proxy(kubectl: Kubectl, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    proxy = kubectl.start("proxy", f"--unix-socket={socket}")
    try:
        assert proxy.stdout and "Starting to serve" in proxy.stdout.readline()
        deadline = time.monotonic() + 5
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        asked = ["curl", "-s", "--unix-socket", str(socket), "http://localhost/api/v1/namespaces/default"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10)
        assert json.loads(answer.stdout)["metadata"]["name"] == "default"
    finally:
        proxy.kill()
        proxy.communicate()
