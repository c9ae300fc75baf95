"""Pods on a real node: processes, network, status, restart, adoption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.resources.core_v1 import Node as NodeObject

from minik8s_net.api.errors import StatusError
from minik8s_net.apiserver.kubelets import LogOptions

from .conftest import BUSY, Node

pytestmark = pytest.mark.netns
OnNode = Callable[[Callable[[Node], Any]], None]


def tool(name: str = "c", command: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": command or BUSY, **more}


def test_a_pod_of_two_containers_runs_and_is_removed(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("web", {"name": "nginx", "image": "nginx"}, tool("side"))
        took = await node.until(lambda: node.ready("web"))
        pod = node.pod("web")
        assert pod.status.phase == "Running" and pod.status.podIP == "10.244.1.2" == node.ready_for[0]
        assert pod.status.hostIP == "172.18.1.1" and pod.status.qosClass == "BestEffort"
        assert [s.ready for s in pod.status.containerStatuses] == [True, True]
        code, out = await node.run("web", "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf", container=1)
        assert code == 0 and out.startswith("web\n")
        assert "10.244.1.2\tweb" in out and "nameserver 10.96.0.10" in out and "options ndots:5" in out
        token = "/var/run/secrets/kubernetes.io/serviceaccount/"
        code, out = await node.run("web", "sh", "-c", f"cd {token} && cat token ca.crt namespace", container=1)
        assert (code, out) == (0, "TOKENCAdefault")
        for reason in ("Pulled", "Created", "Started"):
            assert reason in node.reasons("web")
        sock = await node.kubelets.dial("default", "web", 80)
        sock.close()
        node.client.delete(Pod, "web", "default")
        await node.until(lambda: node.client.find(Pod, "web", "default") is None)
        assert not await node.runtime.list_pod_sandboxes() and "Killing" in node.reasons("web")
        assert took < 1.0

    on_node(script)


def test_a_dead_container_restarts_in_its_pod_and_then_backs_off(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("crash", tool("c", ["sh", "-c", "echo attempt; sleep 0.2; exit 3"]), tool("steady"))
        await node.until(lambda: bool(node.status("crash") and node.status("crash").restartCount == 1))
        address = node.pod("crash").status.podIP
        await node.until(lambda: bool(w := node.status("crash").state.waiting) and w.reason == "CrashLoopBackOff")
        status = node.status("crash")
        assert status.restartCount == 1 and status.lastState.terminated.exitCode == 3
        assert "back-off 10s restarting failed container=c" in status.state.waiting.message
        assert node.pod("crash").status.podIP == address and node.pod("crash").status.phase == "Running"
        assert node.status("crash", 1).restartCount == 0 and not node.ready("crash")
        assert "BackOff" in node.reasons("crash")
        options = LogOptions(container="c", previous=True)
        assert b"".join([chunk async for chunk in node.kubelets.logs("default", "crash", options)]) == b"attempt\n"

    on_node(script)


def test_init_containers_run_in_order_and_a_pod_can_succeed(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        inits = [tool(f"i{n}", ["sh", "-c", f"echo {n} >> /v/order"], **mount) for n in (1, 2)]
        node.create(
            "job", tool("c", ["cat", "/v/order"], **mount),
            initContainers=inits, volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="Never",
        )  # fmt: skip
        await node.until(lambda: node.pod("job").status.phase == "Succeeded")
        assert b"".join([c async for c in node.kubelets.logs("default", "job", LogOptions())]) == b"1\n2\n"
        assert node.status("job").state.terminated.reason == "Completed"
        with pytest.raises(StatusError, match="cannot exec into a container in a completed pod"):
            await node.kubelets.exec("default", "job", None, ["true"], tty=False, stdin=False)

    on_node(script)


def test_what_can_not_start_says_why(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("image", {"name": "c", "image": "no.such/image:1"})
        env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}}]
        node.create("config", tool(env=env))
        volume = [{"name": "v", "hostPath": {"path": "/etc"}}]
        node.create("mount", tool(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=volume)

        def waits(name: str, *reasons: str) -> bool:
            status = node.status(name)
            return bool(status and status.state.waiting and status.state.waiting.reason in reasons)

        await node.until(lambda: waits("image", "ErrImagePull", "ImagePullBackOff"))
        await node.until(lambda: waits("config", "CreateContainerConfigError"))
        node.create("name", {"name": "c", "image": "UPPER/case"})
        await node.until(lambda: waits("name", "InvalidImageName"))
        await node.until(lambda: "FailedMount" in node.reasons("mount"))
        with pytest.raises(StatusError, match="is waiting to start: trying and failing to pull image"):
            node.kubelets.logs("default", "image", LogOptions())
        with pytest.raises(StatusError, match="container x is not valid for pod image"):
            node.kubelets.logs("default", "image", LogOptions(container="x"))
        assert 'configmap "cm" not found' in node.status("config").state.waiting.message
        data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "namespace": "default"}}
        node.client.create(ConfigMap, {**data, "data": {"a": "1"}})
        await node.until(lambda: node.ready("config"))  # its coming starts the pod
        assert (await node.run("config", "sh", "-c", "echo $A $KUBERNETES_SERVICE_HOST"))[1] == "1 10.96.0.2\n"

    on_node(script)


def test_probes_decide_readiness_and_restart(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
        http = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
        node.create("ready", tool(readinessProbe=probe))
        node.create("http", {"name": "c", "image": "nginx", "readinessProbe": http})
        node.create("alive", tool(livenessProbe={**probe, "initialDelaySeconds": 1}))
        await node.until(lambda: node.ready("http"))
        await node.until(lambda: bool(node.status("ready") and node.status("ready").state.running))
        assert not node.ready("ready")
        await node.run("ready", "touch", "/tmp/ok")
        await node.until(lambda: node.ready("ready"))
        await node.run("ready", "rm", "/tmp/ok")
        await node.until(lambda: not node.ready("ready"))
        await node.until(lambda: node.status("alive").restartCount == 1)
        assert {"Unhealthy", "Killing"} <= set(node.reasons("alive")) and "Unhealthy" in node.reasons("ready")

    on_node(script)


def test_a_new_kubelet_adopts_processes_and_removes_orphans(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("stays", tool())
        node.create("goes", tool())
        await node.until(lambda: node.ready("stays") and node.ready("goes"))
        before = {s.id: s.pid for s in await node.runtime.list_containers()}
        address, container = node.pod("stays").status.podIP, node.status("stays").containerID
        await node.stop()
        node.start()
        node.client.delete(Pod, "goes", "default", grace_seconds=0)  # before the new kubelet has looked
        await node.until(lambda: len(node.kubelet._workers) == 1)
        for _ in range(200):
            if len(left := await node.runtime.list_pod_sandboxes()) == 1:
                break
            await asyncio.sleep(0.01)
        assert [s.config.name for s in left] == ["stays"]
        await node.kubelet.settle()
        assert node.ready("stays") and node.status("stays").containerID == container
        assert node.pod("stays").status.podIP == address and node.status("stays").restartCount == 0
        (now,) = await node.runtime.list_containers()
        assert now.pid == before[now.id] and Path(f"/proc/{now.pid}").exists()
        await node.runtime.stop_pod_sandbox(left[0].id)  # as if the runtime had lost it
        await node.until(lambda: node.status("stays").restartCount == 1 and node.ready("stays"))

    on_node(script)


def test_config_map_volumes_follow_their_object(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "namespace": "default"}}
        node.client.create(ConfigMap, {**data, "data": {"k": "old"}})
        volume = [{"name": "v", "configMap": {"name": "cm"}}]
        node.create("reader", tool(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=volume)
        await node.until(lambda: node.ready("reader"))
        assert await node.run("reader", "cat", "/v/k") == (0, "old")
        node.client.patch(ConfigMap, "cm", {"data": {"k": "new"}}, "default")
        await node.kubelet.settle()
        assert await node.run("reader", "cat", "/v/k") == (0, "new")

    on_node(script)


def test_the_grace_period_ends_what_ignores_term(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("deaf", tool(command=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]))
        await node.until(lambda: node.ready("deaf"))
        node.client.delete(Pod, "deaf", "default", grace_seconds=2)
        took = await node.until(lambda: node.client.find(Pod, "deaf", "default") is None)
        assert 1.5 < took < 4

    on_node(script)


def test_the_node_speaks_of_itself(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        def conditions() -> dict[str, str]:
            status = node.client.get(NodeObject, "node-1").status
            return {c.type: c.status for c in (status.conditions if status else None) or ()}

        await node.until(lambda: conditions().get("Ready") == "True")
        status: Any = node.client.get(NodeObject, "node-1").status
        assert {a.type: a.address for a in status.addresses} == {"InternalIP": "172.18.1.1", "Hostname": "node-1"}
        assert status.capacity["pods"] == "250" and status.nodeInfo.kubeletVersion.startswith("v1.33.")

    on_node(script)
