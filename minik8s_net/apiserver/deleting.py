"""What a DELETE asks for: metav1.DeleteOptions, in its body or, where that is silent, its query.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/delete-options/
"""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import DeleteOptions as Model

from ..api import schema
from ..api.errors import Go, bad_request, bad_value, invalid_named, unsupported
from . import bodies
from .registry import DeleteOptions
from .target import Query

Json = dict[str, Any]
POLICIES = ("Foreground", "Background", "Orphan")


def delete_options(query: Query, body: bytes, media: str) -> DeleteOptions:
    """Raises StatusError 400 (types), 415, 422 (values)."""
    sent = _sent(body, media)
    preconditions, grace = sent.get("preconditions", {}), sent.get("gracePeriodSeconds")
    grace = query.number("gracePeriodSeconds") if grace is None else grace
    policy = sent.get("propagationPolicy") or query.text("propagationPolicy") or None
    orphan = sent.get("orphanDependents")
    dry_run = sent.get("dryRun") or query.all("dryRun")
    errors = []
    if orphan is not None and policy is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(bad_value("propagationPolicy", policy, detail))
    if policy not in (None, *POLICIES):
        errors.append(unsupported("propagationPolicy", policy, (*POLICIES, "nil")))
    if any(value not in ("All", "") for value in dry_run):
        errors.append(unsupported("dryRun", Go.strings(dry_run), ("All",)))
    if errors:
        raise invalid_named("DeleteOptions", "meta.k8s.io", "", errors)
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    uid, revision = preconditions.get("uid"), preconditions.get("resourceVersion")
    return DeleteOptions(grace, policy, uid, revision, "All" in dry_run)


def _sent(body: bytes, media: str) -> Json:
    sent = bodies.loose(body, media) if body else None
    walked = schema.walk(Model, {} if sent is None else sent)
    if walked.errors:
        said = walked.errors[0]
        raise bad_request(f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: {said}')
    return walked.tree
