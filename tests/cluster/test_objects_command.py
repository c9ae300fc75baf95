"""`minik8s apply`, `wait`, `exec`, `shell`: what they say when something is not as it should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.client.kubeconfig import KubeconfigError
from minik8s_net.client.wait import A_WEEK, check_condition, seconds
from tests.conftest import Home

from .conftest import NAME, Kubectl

MIXED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: second}
data: {number: 1}
---
apiVersion: nonsense/v1
kind: Nonsense
metadata: {name: third}
---
just a text
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fourth}
"""


def run(home: Home, space: str, *argv: str, stdin: str = "") -> tuple[int, str, str]:
    done = home.minik8s(argv[0], "--cluster", NAME, "-n", space, *argv[1:], check=False, stdin=stdin)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.cluster
def test_apply_goes_on_after_a_bad_document(trio: Home, kubectl: Kubectl) -> None:
    code, out, err = run(trio, kubectl.namespace, "apply", "-f", "-", stdin=MIXED)
    assert (code, out) == (1, "configmap/first created\nconfigmap/fourth created\n")
    assert [line.split(":")[1].strip() for line in err.splitlines() if line.startswith("error:")] == [
        "ConfigMap second", "Nonsense third", "standard input",
    ]  # fmt: skip
    code, _, err = run(trio, kubectl.namespace, "apply", "-f", "https://example.test/all.yaml")
    assert code == 1 and "curl -fLO https://example.test/all.yaml" in err and "Traceback" not in err


@pytest.mark.cluster
def test_wait_and_exec_say_what_is_wrong(trio: Home, kubectl: Kubectl) -> None:
    space = kubectl.namespace
    code, _, err = run(trio, space, "wait", "cm/kube-root-ca.crt", "--for", "banana")
    assert code == 1 and 'unrecognized condition: "banana"' in err and "condition=Ready" in err
    code, _, err = run(trio, space, "wait", "cm/kube-root-ca.crt", "--for", "create", "--timeout", "soon")
    assert code == 1 and '"soon" is no duration' in err
    assert run(trio, space, "wait", "cm/kube-root-ca.crt", "--for", "create", "--timeout", "-5")[0] == 0
    kubectl("run", "box", "--image=busybox", "--", "sleep", "600")
    assert run(trio, space, "wait", "pod/box", "--for", "condition=Ready", "--timeout", "20s")[0] == 0
    code, _, err = run(trio, space, "exec", "box", "--", "nonsense")
    assert code == 127 and "executable file not found in $PATH" in err
    shell = trio.minik8s("shell", "--cluster", NAME, "node-1", "--", "nonsense", check=False)
    assert (shell.returncode, shell.stderr) == (127, "nonsense: command not found\n")
    kubectl("delete", "pod", "box", "--force", "--grace-period=0")


@pytest.mark.cluster
def test_several_by_name_are_one_table_and_events_are_of_this_object(trio: Home, kubectl: Kubectl) -> None:
    space = kubectl.namespace
    for _ in range(2):  # the second of that name has events of its own
        kubectl("delete", "pod", "box", "--force", "--grace-period=0", "--ignore-not-found")
        kubectl("run", "box", "--image=busybox", "--", "sleep", "600")
        kubectl("wait", "--for=condition=Ready", "pod/box")
    uid = kubectl.path("pod box", ".metadata.uid")
    kubectl("create", "configmap", "a")
    kubectl("create", "configmap", "b")
    code, out, _ = run(trio, space, "get", "cm", "a", "b")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["NAME", "a", "b"]
    code, out, err = run(trio, space, "get", "cm", "a", "nobody", "b")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (1, ["NAME", "a", "b"])
    assert err == 'error: configmaps "nobody" not found\n'
    assert "only one kind, or one object, can be watched" in run(trio, space, "get", "-w", "cm", "a", "b")[2]
    described = run(trio, space, "describe", "pod", "box")[1]
    assert uid in described and described.count(" Scheduled ") == 1
    assert re.search(r"^ +\d+s  Normal   Started ", described, re.M)
    kubectl("delete", "pod", "box", "--force", "--grace-period=0")


@pytest.mark.cluster
def test_what_is_not_there_says_so(trio: Home, kubectl: Kubectl) -> None:
    diff = trio.minik8s("diff", "--cluster", NAME, "node-9", check=False)
    assert diff.returncode == 1 and "no place 'node-9'; there are: fabric, outside, node-1" in diff.stderr
    assert "No resources found" in kubectl.run("get", "componentstatuses").stderr
    kubectl("run", "web", "--image=nginx")
    kubectl("wait", "--for=condition=Ready", "pod/web")
    assert "kubectl exec -it POD -- sh" in kubectl("attach", "web", code=1)
    assert "port-forward is not built here" in kubectl("port-forward", "pod/web", "0:80", code=1)
    warned = kubectl.run("create", "cronjob", "tick", "--image=busybox", "--schedule=0 0 1 1 *", "--", "true")
    assert warned.returncode == 0 and warned.stderr == ""


@pytest.mark.cluster
def test_python_takes_kind_and_name_as_one_word(trio: Home, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "a")
    cluster, space = trio.cluster(NAME), kubectl.namespace
    assert cluster.get("cm/a", namespace=space).metadata.name == "a"
    assert f"configmaps/{space}/a" in {f"configmaps/{m['namespace']}/{m['name']}" for m in _exported(cluster)}
    cluster.delete("configmap/a", namespace=space)
    with pytest.raises(StatusError, match="not found"):
        cluster.get("cm", "a", namespace=space)
    with pytest.raises(KubeconfigError, match="no kubeconfig at nowhere"):
        Cluster("nowhere")


def _exported(cluster: Cluster) -> list[dict[str, str]]:
    return [obj["metadata"] for obj in cluster.export()["objects"] if obj["kind"] == "ConfigMap"]


def test_durations_and_conditions(tmp_path: Path) -> None:
    assert [seconds(text) for text in ("30", "90s", "1m30s", "0", "1h", "0.5s", "-5", "-1s")] == [
        30, 90, 90, 0, 3600, 0.5, A_WEEK, A_WEEK,
    ]  # fmt: skip
    for text in ("soon", "", "5x", "s", "m"):
        with pytest.raises(ValueError, match="is no duration"):
            seconds(text)
    for good in ("delete", "create", "condition=Ready", "condition=Ready=False", "jsonpath={.a}=1"):
        check_condition(good)
    for bad in ("banana", "condition=", "condition", "jsonpath={.a}", ""):
        with pytest.raises(ValueError, match="What can be waited for"):
            check_condition(bad)
