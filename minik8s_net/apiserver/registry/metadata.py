"""ObjectMeta on its way into the store: what the system sets, what a client may not change, names made from prefixes.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from ...api.errors import Go, bad_request, conflict, invalid, prohibited
from ...api.kinds import Kind

Json = dict[str, Any]
encode = msgspec.json.encode
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' alphabet: no vowels, so no words
SYSTEM_SET = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
_random = random.Random()
# Kinds whose spec has a metadata.generation (as a real API server's answers show).
GENERATIONS = frozenset({
    "cronjobs", "customresourcedefinitions", "daemonsets", "deployments", "endpointslices", "flowschemas", "ingresses",
    "jobs", "mutatingwebhookconfigurations", "networkpolicies", "poddisruptionbudgets", "priorityclasses",
    "prioritylevelconfigurations", "replicasets", "replicationcontrollers", "statefulsets",
    "validatingadmissionpolicies", "validatingwebhookconfigurations",
})  # fmt: skip


def random_suffix(length: int = 5) -> str:
    """`length` random characters of Kubernetes' alphabet."""
    return "".join(_random.choices(SUFFIX, k=length))


def counts_generations(kind: Kind) -> bool:
    """Whether a kind's metadata.generation counts changes of its spec."""
    return kind.plural in GENERATIONS


def begin(kind: Kind, namespace: str, tree: Json) -> None:
    """Check and complete the metadata of an object to be created. Raises StatusError (400)."""
    meta = tree["metadata"] = dict(tree.get("metadata") or {})
    tree["apiVersion"], tree["kind"] = kind.api_version, kind.kind
    _check_namespace(kind, namespace, meta)
    if kind.namespaced:
        meta["namespace"] = namespace
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for key in (*SYSTEM_SET, "resourceVersion"):
        meta.pop(key, None)
    _drop_empty(meta)
    if not meta.get("name"):
        generate_name(meta)


def generate_name(meta: Json) -> None:
    """A name of generateName and five random characters ("" without a prefix), 63 at the most."""
    prefix = meta.get("generateName") or ""
    meta["name"] = f"{prefix[:58]}{random_suffix()}" if prefix else ""


def check_update(kind: Kind, namespace: str, name: str, new: Json, old: Json) -> None:
    """The body names the object of the path, and its uid if it names one. Raises StatusError (400, 409)."""
    meta = new["metadata"] = dict(new.get("metadata") or {})
    new["apiVersion"], new["kind"] = kind.api_version, kind.kind
    if meta.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    _check_namespace(kind, namespace, meta)
    if kind.namespaced:
        meta["namespace"] = namespace
    uid = old["metadata"]["uid"]
    if meta.get("uid") and meta["uid"] != uid:
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
        raise conflict(kind.plural, name, why, kind.group)


def carry_over(kind: Kind, new: Json, old: Json) -> None:
    """What only the system sets stays as it was; a deleted object may lose finalizers but gain none."""
    meta, before = new["metadata"], old["metadata"]
    for key in (*SYSTEM_SET, "generateName"):
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]
    _drop_empty(meta)
    if before.get("deletionTimestamp") and (
        added := sorted(set(meta.get("finalizers", ())) - set(before.get("finalizers", ())))
    ):
        why = f"no new finalizers can be added if the object is being deleted, found new finalizers {Go.strings(added)}"
        raise invalid(kind, meta["name"], [prohibited("metadata.finalizers", why)])


def kept(new: Json, old: Json, *keys: str) -> Json:
    """`new` with these keys as in `old`."""
    return {k: v for k, v in new.items() if k not in keys} | {k: old[k] for k in keys if k in old}


def spec_changed(new: Json, old: Json) -> bool:
    """Whether anything but metadata and status differs."""
    return any(
        new.get(key) != old.get(key) for key in (new.keys() | old.keys()) - {"metadata", "status", "apiVersion", "kind"}
    )


_ORDER = ("kind", "apiVersion", "metadata", "spec", "status")
_META_ORDER = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")


def ordered(kind: Kind, tree: Json) -> Json:
    """Fields in the order a real server prints them; `body` then always begins with kind and apiVersion."""
    tree["apiVersion"], tree["kind"] = kind.api_version, kind.kind
    tree["metadata"] = _sorted_by(_META_ORDER, tree["metadata"])
    return _sorted_by(_ORDER, tree)


def _sorted_by(order: tuple[str, ...], tree: Json) -> Json:
    first = {key: tree[key] for key in order if key in tree}
    return first | {key: value for key, value in tree.items() if key not in first}


def _drop_empty(meta: Json) -> None:
    """Go's omitempty: an empty map is stored as none, so that nothing is written when a client sends it back."""
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        if not meta.get(key):
            meta.pop(key, None)


def _check_namespace(kind: Kind, namespace: str, meta: Json) -> None:
    given = meta.get("namespace")
    if kind.namespaced and given and given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if not kind.namespaced:
        meta.pop("namespace", None)
