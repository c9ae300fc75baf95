"""What counts as changed since the last look."""

from __future__ import annotations

from minik8s_net.healing.watches import Changed, Watches

WHOLE, BROKEN = ("1",), ("0",)


def told(watches: Watches, sysctls: tuple[str, ...]) -> bool:
    """Whether node-1 is to be looked at, when these are its sysctls."""
    watches._changed = Changed()
    watches._compare_sysctls("node-1", sysctls)
    return "node-1" in watches._changed.places


def test_sysctls_are_compared_with_those_of_the_last_look() -> None:
    watches = Watches()
    assert told(watches, WHOLE) and not told(watches, WHOLE)
    assert told(watches, BROKEN) and not told(watches, BROKEN)


def test_what_was_wrong_and_is_broken_again_at_once_is_noticed() -> None:
    """Put back and broken anew between two looks, its sysctls are the same as at the first."""
    watches = Watches()
    assert told(watches, BROKEN)
    watches.again("node-1")  # it was wrong, and is mended now
    assert told(watches, BROKEN)
