"""A pod's life in its finer points: sidecars, probes, hooks, grace, deadlines, volumes, the host's network."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import ConfigMap, Event, Pod

from minik8s_net.kubelet.backoff import BackOff

from .conftest import BUSY, Node

pytestmark = pytest.mark.netns
OnNode = Callable[[Callable[[Node], Any]], None]


def tool(name: str = "c", command: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": command or BUSY, **more}


def sh(name: str, script: str, **more: Any) -> dict[str, Any]:
    return tool(name, ["sh", "-c", script], **more)


def test_sidecars_start_before_and_end_after_the_rest(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        loop = "echo {0} up >> /v/order; trap 'echo {0} down >> /v/order; exit 0' TERM; while :; do sleep 0.02; done"
        ready = {"exec": {"command": ["test", "-e", "/v/order"]}, "periodSeconds": 1}
        sidecar = sh("side", loop.format("side"), restartPolicy="Always", startupProbe=ready, **mount)
        node.create(
            "job", sh("c", "cat /v/order > /dev/termination-log; echo main >> /v/order", **mount),
            initContainers=[sidecar, sh("init", "echo init >> /v/order", **mount)],
            volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="Never",
        )  # fmt: skip
        await node.until(lambda: node.pod("job").status.phase == "Succeeded")
        assert node.status("job").state.terminated.message == "side up\ninit\n"
        side, init = node.pod("job").status.initContainerStatuses
        assert side.state.terminated.exitCode == 0 and init.state.terminated.reason == "Completed"
        order = node.state.pods / node.pod("job").metadata.uid / "volumes/kubernetes.io~empty-dir/v/order"
        assert order.read_text().split() == ["side", "up", "init", "main", "side", "down"]

    on_node(script)


def test_a_sidecar_outlives_what_it_serves(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        ends = "trap 'sleep {0}; echo {1} >> /v/order; exit 0' TERM; while :; do sleep 0.02; done"
        node.create(
            "both", sh("c", ends.format("0.5", "main"), **mount), volumes=[{"name": "v", "emptyDir": {}}],
            initContainers=[sh("side", ends.format("0", "side"), restartPolicy="Always", **mount)],
            activeDeadlineSeconds=2,  # from startTime, which has whole seconds only
        )  # fmt: skip
        await node.until(lambda: node.pod("both").status.phase == "Failed")
        order = node.state.pods / node.pod("both").metadata.uid / "volumes/kubernetes.io~empty-dir/v/order"
        assert order.read_text().split() == ["main", "side"]

    on_node(script)


def test_a_failed_init_container_is_tried_again_or_ends_the_pod(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("never", tool(), initContainers=[sh("i", "exit 4")], restartPolicy="Never")
        node.create("again", tool(), initContainers=[sh("i", "exit 4")])
        await node.until(lambda: node.pod("never").status.phase == "Failed")
        assert node.pod("never").status.initContainerStatuses[0].state.terminated.exitCode == 4

        def restarts() -> int:
            statuses = node.pod("again").status.initContainerStatuses
            return statuses[0].restartCount if statuses else 0

        await node.until(lambda: restarts() == 1)
        condition = next(c for c in node.pod("again").status.conditions if c.type == "Initialized")
        assert condition.status == "False" and condition.message == "containers with incomplete status: [i]"

    on_node(script)


def test_a_startup_probe_holds_the_others_back_and_condemns(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        startup = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 30}
        tcp = {"tcpSocket": {"port": "web"}, "periodSeconds": 1}
        ports = [{"name": "web", "containerPort": 80}]
        server = {"name": "c", "image": "nginx", "ports": ports}
        node.create("slow", {**server, "startupProbe": startup, "readinessProbe": tcp, "livenessProbe": tcp})
        node.create("never", {**server, "startupProbe": {**startup, "failureThreshold": 1}},
                    terminationGracePeriodSeconds=0)  # fmt: skip
        await node.until(lambda: bool(s := node.status("slow")) and bool(s.state.running))
        await asyncio.sleep(0.5)
        assert node.status("slow").started is False and not node.ready("slow")
        await node.run("slow", "touch", "/tmp/up")
        await node.until(lambda: node.ready("slow") and node.status("slow").started)
        await node.until(lambda: bool(s := node.status("never")) and s.restartCount == 1)
        said = [e.message for e in node.client.list(Event, "default") if e.involvedObject.name == "never"]
        assert "Container c failed startup probe, will be restarted" in said

    on_node(script)


def test_hooks_run_and_a_failed_one_ends_its_container(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        volumes = [{"name": "v", "emptyDir": {}}]
        hooks = {
            "postStart": {"exec": {"command": ["sh", "-c", "echo post >> /v/order"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "sleep 0.3; echo pre >> /v/order"]}},
        }
        term = sh(
            "c", "trap 'echo term >> /v/order; exit 0' TERM; while :; do sleep 0.02; done", lifecycle=hooks, **mount
        )
        watcher = sh("w", "trap 'sleep 1; cat /v/order > /v/copy; exit' TERM; while :; do sleep 0.02; done", **mount)
        node.create("hooked", term, watcher, volumes=volumes)
        await node.until(lambda: node.ready("hooked"))
        order = node.state.pods / node.pod("hooked").metadata.uid / "volumes/kubernetes.io~empty-dir/v/order"
        assert order.read_text() == "post\n"
        node.client.delete(Pod, "hooked", "default")
        await node.until(lambda: order.exists() and order.read_text() == "post\npre\nterm\n")
        bad = {"postStart": {"exec": {"command": ["false"]}}}
        node.create("bad", tool(lifecycle=bad), terminationGracePeriodSeconds=0)
        await node.until(lambda: "FailedPostStartHook" in node.reasons("bad"))
        await node.until(lambda: bool(s := node.status("bad")) and s.restartCount >= 1)

    on_node(script)


def test_a_deletion_is_hastened_while_it_goes_on(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        deaf = sh("c", "trap 'echo TERM >> /v/told' TERM; while :; do sleep 0.05; done",
                  volumeMounts=[{"name": "v", "mountPath": "/v"}])  # fmt: skip
        node.create("deaf", deaf, volumes=[{"name": "v", "emptyDir": {}}])
        await node.until(lambda: node.ready("deaf"))
        told = node.state.pods / node.pod("deaf").metadata.uid / "volumes/kubernetes.io~empty-dir/v/told"
        node.client.delete(Pod, "deaf", "default", grace_seconds=60)
        await node.until(told.exists)
        node.client.delete(Pod, "deaf", "default", grace_seconds=1)
        await asyncio.sleep(0.5)
        assert told.read_text() == "TERM\n", "said once, however often the end is hastened"
        took = await node.until(lambda: node.client.find(Pod, "deaf", "default") is None)
        assert took < 5

    on_node(script)


def test_an_active_deadline_fails_the_pod(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("late", tool(), activeDeadlineSeconds=1)
        await node.until(lambda: node.pod("late").status.phase == "Failed")
        assert node.pod("late").status.reason == "DeadlineExceeded" and "DeadlineExceeded" in node.reasons("late")

    on_node(script)


def test_restart_policies(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("good", sh("c", "exit 0"), restartPolicy="OnFailure")
        node.create("bad", sh("c", "exit 1"), restartPolicy="OnFailure")
        node.create("never", sh("c", "exit 1"), restartPolicy="Never")
        await node.until(lambda: node.pod("good").status.phase == "Succeeded")
        await node.until(lambda: node.pod("never").status.phase == "Failed")
        await node.until(lambda: bool(s := node.status("bad")) and s.restartCount == 1)
        assert node.status("good").restartCount == node.status("never").restartCount == 0

    on_node(script)


def test_back_off_doubles_up_to_five_minutes_and_is_forgotten_after_ten() -> None:
    back_off, now, delays = BackOff(), 1000.0, []
    for _ in range(8):
        back_off.next("c", now)
        delays.append(back_off.remaining("c", now, now))
        now += delays[-1]
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert back_off.remaining("c", now + 5, now) == 295
    assert back_off.remaining("c", now + 700, now + 700) == 0, "it had run for more than ten minutes"


def test_volumes_of_every_kind(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "namespace": "default"}}
        node.client.create(ConfigMap, {**data, "data": {"k": "from-cm", "other": "x"}})
        label = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
        cpu = {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}
        token = {"serviceAccountToken": {"path": "token", "audience": "me"}}
        sources = [token, {"configMap": {"name": "cm", "items": [{"key": "k", "path": "deep/k", "mode": 0o400}]}},
                   {"downwardAPI": {"items": [label]}}]  # fmt: skip
        volumes = [
            {"name": "all", "projected": {"sources": sources}},
            {"name": "down", "downwardAPI": {"items": [label, cpu]}},
            {"name": "empty", "emptyDir": {"medium": "Memory"}},
            {"name": "cm", "configMap": {"name": "cm"}},
        ]
        mounts = [
            {"name": "all", "mountPath": "/all"}, {"name": "down", "mountPath": "/down"},
            {"name": "empty", "mountPath": "/sub", "subPathExpr": "$(WHO)/x"}, {"name": "empty", "mountPath": "/whole"},
            {"name": "cm", "mountPath": "/etc/one.conf", "subPath": "k"},
        ]  # fmt: skip
        env = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
        node.create("vol", tool(volumeMounts=mounts, env=env, resources={"limits": {"cpu": "250m"}}), volumes=volumes)
        await node.until(lambda: node.ready("vol"))
        look = "cat /all/token /all/deep/k /etc/one.conf /down/cpu; stat -Lc %a /all/deep/k; echo hi > /sub/f"
        look += "; cat /whole/vol/x/f"
        assert (await node.run("vol", "sh", "-c", look))[1] == "me-1from-cmfrom-cm250400\nhi\n"
        node.client.patch(Pod, "vol", {"metadata": {"labels": {"tier": "front"}}}, "default")
        await node.kubelet.settle()
        assert (await node.run("vol", "cat", "/down/labels", "/all/labels"))[1].count('tier="front"') == 2

    on_node(script)


def test_a_sub_path_is_made_in_the_pods_own_volumes_and_leads_out_of_none(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        volumes = [{"name": "own", "emptyDir": {}}, {"name": "usr", "hostPath": {"path": "/usr/share"}}]
        whole = [{"name": "own", "mountPath": "/v"}]
        plant = tool("init", ["sh", "-c", "ln -s /usr /v/out"], volumeMounts=whole)

        def create(name: str, volume: str, sub: str) -> None:
            mounts = [{"name": volume, "mountPath": "/m", "subPath": sub}]
            node.create(name, tool(volumeMounts=mounts), initContainers=[plant], volumes=volumes)

        create("made", "own", "a/b")
        create("out", "own", "out")
        create("none", "usr", "minik8s-test-no-such-folder")
        await node.until(lambda: node.ready("made"))

        def refused(name: str) -> str:
            state = node.status(name).state if node.status(name) else None
            waiting = state.waiting if state else None
            return waiting.message if waiting and waiting.reason == "CreateContainerConfigError" else ""

        await node.until(lambda: bool(refused("out") and refused("none")))
        assert refused("out") == 'subPath "out" leads out of its volume'
        assert "No such file" in refused("none") and not Path("/usr/share/minik8s-test-no-such-folder").exists()

    on_node(script)


def test_host_network_and_host_aliases(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        alias = [{"ip": "10.9.8.7", "hostnames": ["shop.test", "shop"]}]
        node.create("host", tool(), hostNetwork=True, hostAliases=alias)
        await node.until(lambda: node.ready("host"))
        assert node.pod("host").status.podIP == node.pod("host").status.hostIP == "172.18.1.1"
        out = (await node.run("host", "sh", "-c", "hostname; grep shop /etc/hosts; ls /sys/class/net"))[1]
        assert out.startswith("node-1\n10.9.8.7\tshop.test\tshop\n") and "cni0" in out

    on_node(script)


def test_a_missing_volume_is_retried_ever_more_seldom_and_starts_with_its_object(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        volume = [{"name": "v", "configMap": {"name": "late"}}]
        node.create("waits", tool(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=volume)

        def told() -> int:
            events = [e for e in node.client.list(Event, "default") if e.reason == "FailedMount"]
            return sum(e.count or 1 for e in events)

        await node.until(lambda: told() >= 1)
        began = time.monotonic()
        await node.until(lambda: told() >= 3)
        assert time.monotonic() - began > 1.2 and told() <= 4, "0.5 s, then 1 s"
        data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": "default"}}
        node.client.create(ConfigMap, {**data, "data": {"k": "v"}})
        assert await node.until(lambda: node.ready("waits")) < 1.5

    on_node(script)


def test_exec_of_what_is_not_there(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("box", tool())
        await node.until(lambda: node.ready("box"))
        for command, code in (("nonsense", b"127"), ("/no/such", b"127"), ("/etc/hosts", b"126")):
            streams = await node.kubelets.exec("default", "box", None, [command], tty=False, stdin=False)
            assert streams.stderr is not None
            ends = [os.read(fd, 4096) for fd in (streams.stdout, streams.stderr, streams.status)]
            for fd in (streams.stdout, streams.stderr, streams.status):
                os.close(fd)
            assert ends[0] == b"" and ends[2] == code and ends[1].startswith(b"OCI runtime exec failed")

    on_node(script)
