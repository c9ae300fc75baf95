"""What a write may ask for besides its object: dry run, preconditions, propagation, grace.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class WriteOptions:
    """For create and update. `warnings` collects what the answer's Warning headers will say."""

    dry_run: bool = False
    strictness: str = "Strict"  # fieldValidation: Strict, Warn, Ignore
    manager: str = ""  # who owns what this writes; "" for a component of ours
    operation: str = "Update"  # or Apply: then the tree carries its managedFields already
    subresource: str = ""  # through which the main object is written ("scale")
    force: bool = False  # an apply takes over what others own
    warnings: list[str] = field(default_factory=list)


@dataclass
class DeleteOptions:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/delete-options/"""

    grace_seconds: int | None = None
    propagation: str | None = None  # Background, Foreground, Orphan
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False
