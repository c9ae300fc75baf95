"""Tables of the kinds that are only kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from minik8s_net.api import kinds, tables

NOW = datetime(2024, 1, 1, tzinfo=UTC)
TARGET = {"kind": "Deployment", "name": "web"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}


@pytest.mark.parametrize(
    ("name", "tree", "shown"),
    [
        ("autoscaling/v2 HorizontalPodAutoscaler",
         {"spec": {"maxReplicas": 5, "minReplicas": 2, "scaleTargetRef": TARGET, "metrics": [CPU]}},
         ["Deployment/web", "cpu: <unknown>/50%", 2, 5, 0]),
        ("autoscaling/v1 HorizontalPodAutoscaler",
         {"spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 7, "scaleTargetRef": TARGET}},
         ["Deployment/web", "cpu: <unknown>/7%", "<unset>", 5, 0]),
        ("storage.k8s.io/v1 StorageClass", {"provisioner": "p", "reclaimPolicy": "Retain"},
         ["p", "Retain", "Immediate", False]),
        ("scheduling.k8s.io/v1 PriorityClass", {"value": 7}, [7, False, "<unknown>", "PreemptLowerPriority"]),
        ("v1 ResourceQuota", {"spec": {"hard": {"pods": "3", "limits.cpu": "2"}}, "status": {"used": {"pods": "1"}}},
         ["pods: 1/3", "limits.cpu: 0/2"]),
        ("networking.k8s.io/v1 IngressClass", {"spec": {"controller": "example.com/c"}}, ["example.com/c", "<none>"]),
    ],
)  # fmt: skip
def test_cells(name: str, tree: dict[str, Any], shown: list[Any]) -> None:
    kind = kinds.by_kind(*name.split())
    assert kind
    table = tables.table(kind, [{"metadata": {"name": "x"}, **tree}], now=NOW)
    (row,) = table["rows"]
    assert row["cells"][0] == "x" and row["cells"][1 : 1 + len(shown)] == shown
    assert len(row["cells"]) == len(table["columnDefinitions"])
