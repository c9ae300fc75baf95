"""Stock kubectl on running pods: run, exec, cp, logs, wait, events, debug."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from .conftest import Eventually, Kubectl

pytestmark = pytest.mark.cluster
NOW = '{"spec":{"terminationGracePeriodSeconds":0}}'


def run(kubectl: Kubectl, name: str, script: str, *more: str, image: str = "busybox") -> None:
    """A pod of one container that ends at once when it is deleted."""
    argv = ("run", name, f"--image={image}", f"--overrides={NOW}", *more)
    kubectl(*argv, *(("--command", "--", "sh", "-c", script) if script else ()))


def test_run_expose_and_ask(kubectl: Kubectl) -> None:
    run(kubectl, "web", "", "--port=80", "--labels=app=web", "--expose", image="nginx")
    kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=20s")
    kubectl("expose", "pod", "web", "--name=again", "--port=8080", "--target-port=80")
    run(kubectl, "box", "sleep 600")
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=20s")
    for url in ("http://web/", f"http://again.{kubectl.namespace}.svc.cluster.local:8080/"):
        assert "nginx" in kubectl("exec", "box", "--", "wget", "-qO-", url).lower()
    proxied = kubectl("get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/services/again:8080/proxy/")
    assert "nginx" in proxied.lower()
    assert kubectl.path("endpointslices -l kubernetes.io/service-name=web", ".items[*].endpoints[*].addresses[0]")


def test_exec_in_every_way(kubectl: Kubectl) -> None:
    run(kubectl, "box", "sleep 600")
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=20s")
    assert kubectl("exec", "box", "--", "echo", "hi") == "hi\n"
    assert kubectl("exec", "pod/box", "-c", "box", "-i", "--", "cat", stdin="through\n" * 20000) == "through\n" * 20000
    done = kubectl.run("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.returncode) == ("out\n", 7)
    assert done.stderr == "err\ncommand terminated with exit code 7\n"
    missing = kubectl.run("exec", "box", "--", "nonsense")
    assert missing.returncode == 127 and 'exec: "nonsense": executable file not found in $PATH' in missing.stderr
    refused = kubectl.run("exec", "box", "--", "/etc/passwd")
    assert refused.returncode == 126 and "permission denied" in refused.stderr
    assert "container nope is not valid for pod box" in kubectl("exec", "box", "-c", "nope", "--", "true", code=1)


def test_exec_with_a_terminal(kubectl: Kubectl) -> None:
    run(kubectl, "box", "sleep 600")
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=20s")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    process = subprocess.Popen(
        kubectl.argv("exec", "-it", "box", "--", "sh"), env=kubectl.home.env, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        time.sleep(0.3)
        os.write(master, b"stty size; tty; echo $((6*7)); exit 3\n")
        seen = b""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and process.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    seen += os.read(master, 4096)
                except OSError:
                    break
        assert process.wait(5) == 3
    finally:
        process.kill()
        os.close(master)
    text = seen.decode()
    assert "33 101" in text and "/dev/pts/" in text and "42" in text, text


def test_a_pod_asks_the_api_with_its_token(kubectl: Kubectl) -> None:
    run(kubectl, "box", "sleep 600")
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=20s")
    ask = """cd /var/run/secrets/kubernetes.io/serviceaccount; curl -sS --cacert ca.crt %s \
             https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/pods/box"""
    token = '-H "Authorization: Bearer $(cat token)"'
    answer = json.loads(kubectl("exec", "box", "--", "sh", "-c", ask % token))
    assert answer["metadata"]["name"] == "box" and answer["status"]["phase"] == "Running"
    assert json.loads(kubectl("exec", "box", "--", "sh", "-c", ask % ""))["code"] == 401


def test_cp_files_and_folders_both_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    run(kubectl, "box", "sleep 600")
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=20s")
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("deep")
    (folder / "big").write_bytes(os.urandom(3_000_000))
    kubectl("cp", str(folder), "box:/tmp/folder")
    assert kubectl("exec", "box", "--", "cat", "/tmp/folder/deep/file") == "deep"
    kubectl("cp", f"{kubectl.namespace}/box:/tmp/folder", str(tmp_path / "back"), "-c", "box")
    assert (tmp_path / "back" / "big").read_bytes() == (folder / "big").read_bytes()
    kubectl("cp", "box:/tmp/folder/deep/file", str(tmp_path / "one"))
    assert (tmp_path / "one").read_text() == "deep"


def test_logs(kubectl: Kubectl, eventually: Eventually) -> None:
    run(kubectl, "talker", "for i in 1 2 3; do echo line $i; done; sleep 2; echo late; sleep 600")
    run(kubectl, "crash", "echo first; sleep 0.5; exit 3")
    kubectl("wait", "pod/talker", "--for=condition=Ready", "--timeout=20s")
    follow = kubectl.start("logs", "-f", "talker", "--tail=1")
    try:
        assert follow.stdout
        assert follow.stdout.readline() == "line 3\n"
        assert kubectl("logs", "talker", "--tail=2").startswith("line 2\nline 3\n")
        assert follow.stdout.readline() == "late\n"
    finally:
        follow.kill()
        follow.communicate()
    assert kubectl("logs", "talker").count("\n") == 4
    assert kubectl("logs", "talker", "--since=1s").count("line") == 0
    assert kubectl("logs", "talker", "--since=1h").count("line") == 3
    stamped = kubectl("logs", "talker", "--timestamps", "--limit-bytes=40")
    assert stamped.startswith("20") and len(stamped) == 40
    assert kubectl("logs", "-l", "run=talker", "--prefix", "--tail=1") == "[pod/talker/talker] late\n"
    eventually(lambda: kubectl.path("pod crash", ".status.containerStatuses[0].restartCount") == "1", 20)
    assert kubectl("logs", "crash", "--previous") == "first\n"
    eventually(lambda: "CrashLoopBackOff" in kubectl("get", "pod", "crash"), 20)
    assert 'previous terminated container "talker" in pod "talker" not found' in kubectl("logs", "-p", "talker", code=1)


def test_wait_and_events(kubectl: Kubectl) -> None:
    run(kubectl, "box", "sleep 600")
    kubectl("wait", "pod/box", "--for=jsonpath={.status.phase}=Running", "--timeout=20s")
    kubectl("wait", "pod/box", "--for=condition=Ready=true", "--timeout=20s")
    late = kubectl("wait", "pod/box", "--for=condition=Nonsense", "--timeout=1s", code=1)
    assert "timed out waiting for the condition on pods/box" in late
    hold = '{"metadata":{"finalizers":%s}}'
    kubectl("patch", "pod", "box", "-p", hold % '["example.test/hold"]')
    kubectl("delete", "pod", "box", "--wait=false")
    waiter = kubectl.start("wait", "pod/box", "--for=delete", "--timeout=20s")
    time.sleep(2)  # time to start: a pod that is gone before it looks is an error
    assert waiter.poll() is None, "a pod with a finalizer is still there"
    kubectl("patch", "pod", "box", "--type=merge", "-p", hold % "null")
    assert waiter.communicate(timeout=20)[0] == "pod/box condition met\n" and waiter.returncode == 0
    run(kubectl, "picky", "true", "--overrides", '{"spec":{"nodeSelector":{"disk":"ssd"}}}')
    kubectl("wait", "pod/picky", "--for=condition=PodScheduled=false", "--timeout=20s")
    said = kubectl("events", "--for", "pod/picky")
    assert "FailedScheduling" in said and "3 node(s) didn't match Pod's node affinity/selector" in said
    assert "Started" in kubectl("events") and "Scheduled" in kubectl("get", "events", "--sort-by=.lastTimestamp")
    assert "Started" not in kubectl("events", "--types=Warning")


def test_an_unknown_image_says_what_to_do(kubectl: Kubectl, eventually: Eventually) -> None:
    run(kubectl, "odd", "", image="example.com/no/such:1")
    eventually(lambda: "ImagePull" in kubectl("get", "pod", "odd"))
    assert "minik8s image" in kubectl("describe", "pod", "odd")


def test_debug_adds_a_container(kubectl: Kubectl, eventually: Eventually) -> None:
    run(kubectl, "web", "", image="nginx")
    kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=20s")
    kubectl("debug", "web", "--image=busybox", "-c", "look", "--profile=general", "--", "sh", "-c",
            "wget -qO- http://127.0.0.1/; sleep 600")  # fmt: skip
    eventually(lambda: kubectl.path("pod web", ".status.ephemeralContainerStatuses[0].state.running") != "")
    eventually(lambda: "<" in kubectl("logs", "web", "-c", "look"))
    assert kubectl("exec", "web", "-c", "look", "--", "hostname") == "web\n"
