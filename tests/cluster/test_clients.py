"""The clients people script with, each on a live cluster: create, watch, patch, exec, delete."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import NAME, Kubectl

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    """Some of these libraries leave a socket to the garbage collector: let it be collected here, without a word."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def kubeconfig(kubectl: Kubectl) -> Path:
    return kubectl.home.state(NAME).kubeconfig


def pod(namespace: str) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", "echo started; sleep 600"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box", "namespace": namespace}, "spec": spec}


def test_lightkube(kubectl: Kubectl, kubeconfig: Path) -> None:
    from lightkube import Client, KubeConfig
    from lightkube.core.exceptions import ApiError
    from lightkube.resources.core_v1 import Pod

    client = Client(config=KubeConfig.from_file(kubeconfig), namespace=kubectl.namespace)
    made = client.create(Pod.from_dict(pod(kubectl.namespace)))
    assert made.metadata
    version = made.metadata.resourceVersion
    for kind, seen in client.watch(Pod, fields={"metadata.name": "box"}, resource_version=version, server_timeout=20):
        if kind == "MODIFIED" and seen.status and seen.status.phase == "Running":
            break
    patched = client.patch(Pod, "box", {"metadata": {"labels": {"x": "y"}}})
    assert patched.metadata and patched.metadata.labels == {"x": "y"}
    assert [p.metadata.name for p in client.list(Pod, labels={"x": "y"}) if p.metadata] == ["box"]
    assert list(client.log("box")) == ["started\n"]
    client.delete(Pod, "box")
    kubectl("wait", "pod/box", "--for=delete", "--timeout=20s")
    with pytest.raises(ApiError) as missing:
        client.get(Pod, "box")
    assert missing.value.status.code == 404
    client._client._client.close()  # (lightkube has no way to close)


def test_kr8s(kubectl: Kubectl, kubeconfig: Path) -> None:
    import kr8s.asyncio
    from kr8s.asyncio.objects import Pod

    async def script() -> None:
        api = await kr8s.asyncio.api(kubeconfig=str(kubeconfig), namespace=kubectl.namespace)
        box = await Pod(pod(kubectl.namespace), api=api)
        await box.create()
        await box.wait("condition=Ready", timeout=20)
        await box.patch({"metadata": {"labels": {"x": "y"}}})
        done = await box.exec(["sh", "-c", "echo hi; exit 0"])
        assert (done.stdout, done.returncode) == (b"hi\n", 0)
        assert [line async for line in box.logs()] == ["started"]
        async for kind, seen in api.watch("pods", label_selector={"x": "y"}, namespace=kubectl.namespace):
            assert kind == "ADDED" and seen.name == "box"
            break
        await box.delete()
        while await box.exists():
            await asyncio.sleep(0.05)
        await api._session.aclose()  # (kr8s has no way to close)

    asyncio.run(asyncio.wait_for(script(), 40))


def test_the_official_client(kubectl: Kubectl, kubeconfig: Path) -> None:
    from kubernetes import client, config, watch
    from kubernetes.stream import stream

    space = kubectl.namespace
    with config.new_client_from_config(str(kubeconfig)) as connection:
        core = client.CoreV1Api(connection)
        made = core.create_namespaced_pod(space, pod(space))
        watcher = watch.Watch()
        since = made.metadata.resource_version
        for event in watcher.stream(core.list_namespaced_pod, space, resource_version=since, timeout_seconds=20):
            conditions = {c.type: c.status for c in event["object"].status.conditions or ()}
            if conditions.get("Ready") == "True":
                watcher.stop()
        core.patch_namespaced_pod("box", space, {"metadata": {"labels": {"x": "y"}}})
        command = ["sh", "-c", "echo hi; cat; echo no >&2; exit 4"]
        running = stream(
            core.connect_get_namespaced_pod_exec, "box", space,
            command=command, stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
        )  # fmt: skip
        with closing(running):
            running.run_forever(timeout=10)
            assert (running.read_stdout(), running.read_stderr(), running.returncode) == ("hi\n", "no\n", 4)
        assert core.read_namespaced_pod_log("box", space) == "started\n"
        core.delete_namespaced_pod("box", space)
        kubectl("wait", "pod/box", "--for=delete", "--timeout=20s")
        assert core.list_namespaced_pod(space).items == []
