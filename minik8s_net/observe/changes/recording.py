"""What happens while a block (or a command) runs, up to the moment when the kernel stands still again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...client.http import Api
from .model import Changes, Held, compare

STILL, PAUSE, PATIENCE = 0.6, 0.2, 20.0  # seconds without a change; between looks; before giving up


@contextmanager
def recorded(api: Api) -> Iterator[Changes]:
    """Gives a `Changes` that is filled when the block ends."""
    before = now(api)
    changes = Changes()
    yield changes
    changes.items = compare(before, settled(api)).items


def now(api: Api) -> Held:
    """What the kernel holds."""
    found: Held = api.verb("held")
    return found


def settled(api: Api) -> Held:
    """What it holds once nothing has changed for STILL seconds, or after PATIENCE."""
    end = time.monotonic() + PATIENCE
    last, since = now(api), time.monotonic()
    while time.monotonic() < min(end, since + STILL):
        time.sleep(PAUSE)
        if (found := now(api)) != last:
            last, since = found, time.monotonic()
    return last
