"""What a cluster of ours can do beyond the Kubernetes API: `POST /minik8s/v1/VERB`, a JSON object in, JSON out.

Some things need the kernel's side of the cluster (trace, reach, faults, snapshots); the controller has every namespace
at hand, so it does them, for whoever holds the administrator's token. A verb is one function
`async def verb(live: Live, asked: Json) -> Json`, or one that is or returns an async generator of JSON objects, sent as
lines while they come (what it raises before that is a proper refusal).
This file is the index; each verb is imported when it is first asked for. Errors are StatusErrors.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..api.errors import StatusError, bad_request
from ..apiserver import answers, bodies
from ..apiserver.tokens import User
from .live import Live

Json = dict[str, Any]
PREFIX = "/minik8s/v1/"
ADMINISTRATORS = "system:masters"
VERBS: dict[str, str] = {  # verb -> "package.module:function", below minik8s_net
    "diff": "healing.drift:verb",
    "fault-clear": "faults.verbs:clear",
    "fault-inject": "faults.verbs:inject",
    "fault-list": "faults.verbs:list_",
    "heal-pause": "faults.verbs:pause",
    "heal-resume": "faults.verbs:resume",
    "explain": "observe.explain.verb:explain",
    "explain-rule": "observe.rules.verb:explain_rule",
    "export": "snapshot.verbs:export",
    "import": "snapshot.verbs:import_",
    "names": "boot.names_verb:verb",
    "held": "observe.changes.held:held",
    "snapshot-delete": "snapshot.verbs:delete",
    "snapshot-list": "snapshot.verbs:list_",
    "snapshot-restore": "snapshot.verbs:restore",
    "snapshot-save": "snapshot.verbs:save",
    "top": "observe.top:top",
    "trace": "observe.trace.verb:trace",
    "reach": "observe.reach_verb:verb",
    "resolve": "observe.resolve:resolve",
    "capture": "observe.capture:capture",
    "capture-stop": "observe.capture:stop",
}


class Verbs:
    """Answers every request below PREFIX."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def answer(self, request: Request, user: User) -> Response:
        """Raises StatusError: 403 for anybody but administrators, 404 for a verb that is none, 405, 400."""
        verb = request.url.path.removeprefix(PREFIX)
        if ADMINISTRATORS not in user.groups:
            raise StatusError(403, "Forbidden", f'User "{user.name}" cannot post path "{request.url.path}"')
        if verb not in VERBS:
            raise StatusError(404, "NotFound", f"there is no verb {verb!r} here; there are: {', '.join(sorted(VERBS))}")
        if request.method != "POST":
            raise StatusError(405, "MethodNotAllowed", f"verbs are asked for by POST, not by {request.method}")
        found = _load(VERBS[verb])(self._live, _asked(await bodies.read(request)))
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, AsyncIterator):
            return StreamingResponse(_lines(found), media_type="application/x-ndjson")
        return answers.json(found)


def _load(target: str) -> Any:
    module, function = target.split(":")
    return getattr(importlib.import_module(f"minik8s_net.{module}"), function)


def _asked(body: bytes) -> Json:
    try:
        asked = json.loads(body or b"{}")
    except ValueError as error:
        raise bad_request(f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise bad_request("the body must be a JSON object")
    return asked


async def _lines(items: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    async for item in items:
        yield json.dumps(item).encode() + b"\n"
