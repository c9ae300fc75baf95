"""Every truth table in real namespaces: real connections, same node and across nodes, TCP and UDP."""

from __future__ import annotations

import pytest

from .cases import CASES, PROBES, Case
from .world import World

pytestmark = pytest.mark.netns


def test_the_matrix_of_nine_pods_is_quick(nine: World) -> None:
    nine.settle()
    measured = nine.reach(80, "TCP", lambda s, d: True, timeout=1.0)
    print(measured)
    assert len(measured.cells) == 81 and not measured.wrong
    assert measured.seconds <= 2
    assert "✓" in str(measured)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_truth_table(nine: World, case: Case) -> None:
    nine.put(*case.policies)
    try:
        for measured in nine.reach_all(PROBES, case.expects):
            assert not measured.wrong, f"\n{measured}"
    finally:
        nine.objects.drop(*case.policies)  # in force with the next case's policies
