"""Requests that reach into a pod: log, exec, attach, proxy. In Kubernetes the API server relays them to the kubelet.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.websockets import WebSocket

from ..api import times
from ..api.errors import StatusError, bad_request
from ..store.version import Version
from . import proxying
from .execution import run
from .kubelets import Kubelets, LogOptions
from .registry import Registry
from .target import Query, Target, method_not_allowed

Json = dict[str, Any]
STREAMED = ("exec", "attach", "portforward")
SILENCE = 0.25  # seconds a followed log may be silent until the answer begins


class Connect:
    """Requests that end at a pod: logs, exec, attach, port-forward and proxy."""

    def __init__(self, registry: Registry, kubelets: Kubelets) -> None:
        self.registry, self.kubelets = registry, kubelets

    def handles(self, target: Target) -> bool:
        """Whether a target is one of those."""
        return target.subresource in ("log", "proxy", *STREAMED)

    async def answer(self, request: Request, target: Target, query: Query) -> Response:
        """A plain HTTP request. Raises StatusError."""
        if target.subresource == "proxy":
            return await proxying.answer(self.registry, self.kubelets, request, target)
        pod = self.registry.read(target.kind, target.namespace, target.name)
        if target.subresource == "log":
            if request.method != "GET":
                raise method_not_allowed()
            return await self._log(pod, query)
        container_of(pod, query.text("container"))
        _check_assigned(pod)
        if target.subresource != "exec":
            raise not_built(target.subresource)
        raise bad_request("Upgrade request required: this server streams over WebSocket (v5.channel.k8s.io)")

    async def websocket(self, socket: WebSocket, target: Target, query: Query) -> None:
        """Raises StatusError while the request can still be refused in HTTP."""
        if target.subresource != "exec":
            raise not_built(target.subresource)
        pod = self.registry.read(target.kind, target.namespace, target.name)
        container = container_of(pod, query.text("container"))
        _check_assigned(pod)
        await run(socket, self.kubelets, pod, container, query)

    async def _log(self, pod: Version, query: Query) -> Response:
        container = container_of(pod, query.text("container"))
        if not pod.tree["spec"].get("nodeName"):
            return Response(status_code=204)
        options = LogOptions(
            container=container,
            follow=query.flag("follow"),
            previous=query.flag("previous"),
            since_seconds=query.number("sinceSeconds"),
            since_time=query.text("sinceTime") or None,
            timestamps=query.flag("timestamps"),
            tail_lines=query.number("tailLines"),
            limit_bytes=query.number("limitBytes"),
        )
        _check_log_options(options)
        chunks = aiter(self.kubelets.logs(pod.namespace, pod.name, options))
        first = asyncio.ensure_future(_next(chunks))
        try:  # the first piece decides between an answer and a Status
            await asyncio.wait([first], timeout=SILENCE)
            if first.done() and first.result() is None:
                return PlainTextResponse("")
        except BaseException:
            first.cancel()
            raise
        return StreamingResponse(_joined(first, chunks), media_type="text/plain")


def not_built(subresource: str) -> StatusError:
    """What kubectl attach, run -it, debug -it and port-forward are told."""
    instead = {
        "attach": "attach is not built here; use: kubectl exec -it POD -- sh",
        "portforward": "port-forward is not built here; use: kubectl proxy, or minik8s shell outside -- curl …",
    }
    return StatusError(501, "NotImplemented", instead.get(subresource, f"{subresource} is not built here"))


def container_of(pod: Version, asked: str) -> str:
    """The container a request means. Raises StatusError 400 in a real server's words."""
    spec = pod.tree["spec"]
    names = [c["name"] for c in spec.get("containers", [])]
    known = names + [c["name"] for field in ("initContainers", "ephemeralContainers") for c in spec.get(field, [])]
    if not asked and len(names) == 1:
        return str(names[0])
    if not asked:
        message = f"a container name must be specified for pod {pod.name}, choose one of: [{' '.join(known)}]"
        raise bad_request(message)
    if asked not in known:
        raise bad_request(f"container {asked} is not valid for pod {pod.name}")
    return asked


def _check_assigned(pod: Version) -> None:
    if not pod.tree["spec"].get("nodeName"):
        raise bad_request(f"pod {pod.name} does not have a host assigned")


def _check_log_options(options: LogOptions) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod"""
    problem = ""
    try:
        times.parse(options.since_time or times.now())
    except ValueError as error:
        raise bad_request(str(error)) from None
    if options.since_seconds is not None and options.since_time:
        problem = 'at most one of "sinceTime" or "sinceSeconds" may be specified'
    elif options.since_seconds is not None and options.since_seconds < 1:
        problem = f"sinceSeconds: Invalid value: {options.since_seconds}: must be greater than 0"
    elif options.tail_lines is not None and options.tail_lines < 0:
        problem = f"tailLines: Invalid value: {options.tail_lines}: must be greater than or equal to 0"
    elif options.limit_bytes is not None and options.limit_bytes < 1:
        problem = f"limitBytes: Invalid value: {options.limit_bytes}: must be greater than 0"
    if problem:
        raise StatusError(422, "Invalid", f'PodLogOptions "" is invalid: {problem}', {"kind": "PodLogOptions"})


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


async def _joined(first: asyncio.Future[bytes | None], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A client that leaves ends it, also one that leaves before the container has said a word."""
    try:
        chunk = await first
        while chunk is not None:
            yield chunk
            chunk = await anext(rest, None)
    finally:
        first.cancel()
