"""Subresources that are verbs in disguise: scale, eviction, binding, token.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..api import kinds, schema, selectors
from ..api import patch as patches
from ..api import strategy as rules
from ..api.errors import StatusError, bad_request, invalid_named
from ..api.validation.meta import not_negative
from ..store.version import Version
from . import answers, bodies, patching
from .deleting import delete_options
from .registry import Registry, WriteOptions
from .resources import manager_of
from .target import Query, Target, method_not_allowed
from .tokenrequest import issue
from .tokens import Tokens

Json = dict[str, Any]


class Subresources:
    """scale, eviction, binding and token requests."""

    def __init__(self, registry: Registry, tokens: Tokens) -> None:
        self.registry, self.tokens = registry, tokens

    def handles(self, target: Target) -> bool:
        """Whether a target is one of those."""
        return target.subresource in ("scale", "eviction", "binding", "token") or target.kind.plural == "bindings"

    async def answer(self, request: Request, target: Target, query: Query) -> Response:
        """The response. Raises StatusError."""
        body, media = await bodies.read(request), bodies.media_type(request)
        if target.subresource == "scale":
            return self._scale(request, target, query, body, media)
        if request.method != "POST":
            raise method_not_allowed()
        options = query.write_options("CreateOptions")
        if target.kind.plural == "bindings":
            return self._binding(target, bodies.decode(target.kind, body, media, options), options)
        sent = _typed(target.subresource, bodies.loose(body, media) if body else {})
        act = {"eviction": self._evict, "binding": self._binding, "token": self._token}[target.subresource]
        return act(target, sent, options)

    # -- scale -------------------------------------------------------------------------------------------------
    def _scale(self, request: Request, target: Target, query: Query, body: bytes, media: str) -> Response:
        method = request.method
        where = (target.kind, target.namespace, target.name)
        if method == "GET":
            return answers.json(scale_of(self.registry.read(*where)))
        if method not in ("PUT", "PATCH"):
            raise method_not_allowed()
        options = query.write_options("UpdateOptions", manager_of(request))
        options.subresource = "scale"

        def change(old: Json) -> Json:
            present = scale_of(self.registry.read(*where))
            wanted = bodies.loose(body, media)
            if method == "PATCH":
                apply = patches.json_patch if media == patching.JSON else patches.merge
                wanted = apply(present, wanted)
            spec = {**old["spec"], "replicas": replicas_in(wanted, target.name)}
            return {**old, "metadata": _same(wanted, old), "spec": spec}

        version = self.registry.update_tree(*where, lambda old: rules.prepare(target.kind, change(old))[0], options)
        return answers.json(scale_of(version), 200, options.warnings)

    # -- pods --------------------------------------------------------------------------------------------------
    def _evict(self, target: Target, sent: Json, options: WriteOptions) -> Response:
        """https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/"""
        pod = self.registry.read(target.kind, target.namespace, target.name)
        self._check_budgets(pod)
        asked = answers.encode(sent.get("deleteOptions") or {})
        deletion = delete_options(Query(b""), asked, "application/json")
        deletion.dry_run |= options.dry_run
        self.registry.delete_tree(target.kind, target.namespace, target.name, deletion)
        return answers.json(_done(201), 201)

    def _check_budgets(self, pod: Version) -> None:
        for budget in self.registry.store.list("poddisruptionbudgets.policy", pod.namespace):
            selector = budget.tree.get("spec", {}).get("selector")
            if selector is None or not selectors.from_selector(selector).matches(pod.labels):
                continue
            status = budget.tree.get("status", {})
            if status.get("disruptionsAllowed", 0) <= 0:
                message = "Cannot evict pod as it would violate the pod's disruption budget."
                needs = f"The disruption budget {budget.name} needs {status.get('desiredHealthy', 0)} healthy pods"
                cause = {
                    "reason": "DisruptionBudget",
                    "message": f"{needs} and has {status.get('currentHealthy', 0)} currently",
                }
                raise StatusError(429, "TooManyRequests", message, {"causes": [cause]})

    def _binding(self, target: Target, sent: Json, options: WriteOptions) -> Response:
        """https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/binding-v1/"""
        pods = kinds.by_path("", "v1", "pods")
        assert pods is not None
        wanted, name = sent.get("target"), target.name or (sent.get("metadata") or {}).get("name", "")
        if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
            raise bad_request("Binding: target.name: Required value")

        def bind(old: Json) -> Json:
            return {**old, "spec": {**old["spec"], "nodeName": wanted["name"]}}

        self.registry.update_tree(pods, target.namespace, name, bind, options, "binding")
        return answers.json(_done(201), 201)

    # -- service accounts --------------------------------------------------------------------------------------
    def _token(self, target: Target, sent: Json, options: WriteOptions) -> Response:
        spec = sent.get("spec") or {}
        return answers.json(issue(self.registry, self.tokens, target.namespace, target.name, spec), 201)


def scale_of(version: Version) -> Json:
    """The autoscaling/v1 Scale of a workload."""
    meta, spec, status = (version.tree.get(key, {}) for key in ("metadata", "spec", "status"))
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = spec.get("selector") or {}
    if "matchLabels" in selector or "matchExpressions" in selector:
        text = str(selectors.from_selector(selector))
    else:  # a ReplicationController's plain map
        text = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": text},
    }


def _typed(subresource: str, sent: Any) -> Json:
    """What was sent, its types checked. Raises StatusError 400."""
    from lightkube.models import authentication_v1, core_v1, policy_v1

    models = {"eviction": policy_v1.Eviction, "binding": core_v1.Binding, "token": authentication_v1.TokenRequest}
    model = models[subresource]
    walked = schema.walk(model, sent)
    if walked.errors:
        name = model.__name__
        raise bad_request(f'{name} in version "v1" cannot be handled as a {name}: {walked.errors[0]}')
    return walked.tree


def replicas_in(scale: Any, name: str) -> int:
    """spec.replicas of a Scale. Raises StatusError 400 (types), 422 (a negative number)."""
    from lightkube.models.autoscaling_v1 import Scale

    walked = schema.walk(Scale, scale)
    if walked.errors:
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {walked.errors[0]}')
    spec: Json = walked.tree.get("spec", {})
    if errors := not_negative(spec, "spec", "replicas"):
        raise invalid_named("Scale", "autoscaling", name, errors)
    return int(spec.get("replicas", 0))


def _same(scale: Json, old: Json) -> Json:
    """The workload's metadata, with the resourceVersion the client insists on, if any."""
    wanted = (scale.get("metadata") or {}).get("resourceVersion")
    return {**old["metadata"], **({"resourceVersion": wanted} if wanted else {})}


def _done(code: int) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
