"""metav1.Table: what `kubectl get` prints, cells made by the server. One file per family of kinds.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from minik8s_net.api.kinds import Kind
from minik8s_net.api.tables import cluster, network, pods, stored, workloads
from minik8s_net.api.tables.columns import AGE, NAME, Column, age_of, definitions

Json = dict[str, Any]
Printer = tuple[list[Column], Callable[[Json, datetime], list[Any]]]
PRINTERS: dict[tuple[str, str], Printer] = {
    **pods.PRINTERS,
    **network.PRINTERS,
    **workloads.PRINTERS,
    **cluster.PRINTERS,
    **stored.PRINTERS,
}


def _generic(obj: Json, now: datetime) -> list[Any]:
    return [obj.get("metadata", {}).get("name", ""), age_of(obj, now)]


GENERIC: Printer = ([NAME, AGE], _generic)


def table(kind: Kind, objects: Iterable[Json], include_object: str = "Metadata", now: datetime | None = None) -> Json:
    """A Table of these objects. `include_object`: Metadata (PartialObjectMetadata), Object (whole) or None.

    List metadata (resourceVersion, continue) is the caller's to fill in.
    """
    columns, cells = PRINTERS.get((kind.group, kind.kind), GENERIC)
    at = now or datetime.now(UTC)
    rows = []
    for obj in objects:
        row: Json = {"cells": cells(obj, at)}
        if include_object == "Object":
            row["object"] = obj
        elif include_object != "None":
            metadata = obj.get("metadata", {})
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }
        if pods.finished(kind.kind, obj):
            row["conditions"] = [pods.COMPLETED]
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": definitions(columns),
        "rows": rows,
    }
