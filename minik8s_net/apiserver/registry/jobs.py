"""Jobs: the selector that finds a Job's own pods and no other's, made from its uid.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#specifying-your-own-pod-selector
"""

from __future__ import annotations

import uuid

from .strategy import Json, Strategy

PREFIX = "batch.kubernetes.io/"


class JobStrategy(Strategy):
    """A Job's selector and its pods' labels are made by the server, as batch/v1 does."""

    def prepare_create(self, new: Json) -> None:
        meta, spec = new["metadata"], new.get("spec", {})
        meta["uid"] = str(uuid.uuid4())
        template = spec.get("template")
        if spec.get("manualSelector") or not isinstance(template, dict):
            return
        told = template.setdefault("metadata", {}).setdefault("labels", {})
        for prefix in (PREFIX, ""):  # the bare names are those of old clients
            told |= {f"{prefix}controller-uid": meta["uid"], f"{prefix}job-name": meta["name"]}
        if not meta.get("labels"):
            meta["labels"] = dict(told)
        selector = spec.setdefault("selector", {})
        if isinstance(selector, dict):
            selector.setdefault("matchLabels", {})[f"{PREFIX}controller-uid"] = meta["uid"]
