"""TokenRequest: a ServiceAccount's token, for clients (`kubectl create token`) and, by the kubelet, for pods.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from __future__ import annotations

import time
from typing import Any

from ..api import kinds
from ..api.errors import bad_request, bad_value, conflict, invalid_named
from ..store.events import timestamp
from .registry import Registry
from .tokens import API_AUDIENCES, Tokens

Json = dict[str, Any]
DEFAULT_SECONDS, MIN_SECONDS, MAX_SECONDS = 3600, 600, 2**32
ADMISSION_SECONDS = 3607  # what admission puts into pods (registry.pods.TOKEN_SECONDS)
YEAR = 365 * 24 * 3600  # seconds that such a token is really good for, lest a program that reads it once stands still


def issue(registry: Registry, tokens: Tokens, namespace: str, name: str, spec: Json) -> Json:
    """The TokenRequest with its status. Raises StatusError 400, 404, 409, 422."""
    seconds = spec.get("expirationSeconds")
    seconds = DEFAULT_SECONDS if seconds is None else seconds
    _check(seconds)
    account = _read(registry, "serviceaccounts", namespace, name)
    asked = spec.get("boundObjectRef")
    bound = _bound(registry, namespace, name, asked) if asked else {}
    audiences = spec.get("audiences") or list(API_AUDIENCES)
    longer = seconds == ADMISSION_SECONDS and "pod" in bound and set(audiences) <= set(API_AUDIENCES)
    lasts, warn_after = (YEAR, seconds) if longer else (seconds, 0)
    token = tokens.sign(account, bound, audiences, lasts, warn_after)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": timestamp()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": asked},
        "status": {"token": token, "expirationTimestamp": timestamp(time.time() + seconds)},
    }


def _check(seconds: int) -> None:
    path, detail = "spec.expirationSeconds", ""
    if seconds < MIN_SECONDS:
        detail = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_SECONDS:
        detail = "may not specify a duration larger than 2^32 seconds"
    if detail:
        raise invalid_named("TokenRequest", "authentication.k8s.io", "", [bad_value(path, seconds, detail)])


def _bound(registry: Registry, namespace: str, account: str, ref: Json) -> Json:
    """What the token is to end with, by name and uid: a pod (and its node, to be told), a Secret, a node."""
    kind, version = ref.get("kind", ""), ref.get("apiVersion") or "v1"
    plural = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
    if plural is None or version != "v1":
        group = version.replace("/", ", ") if "/" in version else f"/{version}"
        raise bad_request(f"cannot bind token to object of type {group}, Kind={kind}")
    found = _read(registry, plural, "" if kind == "Node" else namespace, ref.get("name", ""))
    meta = found["metadata"]
    if kind == "Pod" and found["spec"].get("serviceAccountName", "") != account:
        why = "to pod running with different serviceaccount name."
        raise bad_request(f'cannot bind token for serviceaccount "{account}" {why}')
    if ref.get("uid") and ref["uid"] != meta["uid"]:
        why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
        raise conflict(kind, meta["name"], why + "The object might have been deleted and then recreated")
    bound: Json = {kind.lower(): {"name": meta["name"], "uid": meta["uid"]}}
    if kind == "Pod" and (node := registry.peek("nodes", "", found["spec"].get("nodeName", ""))):
        bound["node"] = {"name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
    return bound


def _read(registry: Registry, plural: str, namespace: str, name: str) -> Json:
    kind = kinds.by_path("", "v1", plural)
    assert kind is not None
    return registry.read(kind, namespace, name).tree
