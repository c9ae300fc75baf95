"""Columns of tables, and cells many kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from minik8s_net.api import times

Json = dict[str, Any]
NONE = "<none>"


@dataclass(frozen=True)
class Column:
    """`priority` 0 is always shown, 1 only with `-o wide`."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


def wide(name: str) -> Column:
    """A column that only `-o wide` shows."""
    return Column(name, priority=1)


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", description="The time since the object was created.")


def definitions(columns: list[Column]) -> list[Json]:
    """metav1.TableColumnDefinitions of these columns."""
    return [
        {
            "name": c.name,
            "type": c.type,
            "format": c.format,
            "description": c.description or c.name,
            "priority": c.priority,
        }
        for c in columns
    ]


def columns(*names: str, also: tuple[str, ...] = ()) -> list[Column]:
    """Columns by name (`Desired:integer`); `also` are the wide ones."""
    made = []
    for name in names:
        title, _, kind = name.partition(":")
        made.append({"Name": NAME, "Age": AGE}.get(title) or Column(title, kind or "string"))
    return made + [wide(name) for name in also]


def name_of(obj: Json) -> str:
    """metadata.name."""
    return str(obj.get("metadata", {}).get("name", ""))


def age_of(obj: Json, now: datetime) -> str:
    """The time since its creation, as kubectl prints ages."""
    return times.age(obj.get("metadata", {}).get("creationTimestamp"), now)


def labels(values: dict[str, str] | None) -> str:
    """A selector's labels as `a=b,c=d`, `<none>` without any."""
    return ",".join(f"{k}={v}" for k, v in sorted(values.items())) if values else NONE


def selector(value: Json | None) -> str:
    """A LabelSelector as `kubectl` prints it."""
    from minik8s_net.api.selectors import from_selector

    return str(from_selector(value)) or NONE if value else NONE


def container_cells(template: Json) -> tuple[str, str]:
    """(names, images) of a pod template's containers."""
    found = template.get("spec", {}).get("containers", [])
    return ",".join(c.get("name", "") for c in found), ",".join(c.get("image", "") for c in found)


def condition(obj: Json, kind: str) -> Json:
    """The status condition of a type, {} without one."""
    return next((c for c in obj.get("status", {}).get("conditions", []) if c.get("type") == kind), {})
