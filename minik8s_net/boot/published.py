"""Our context in the user's kubeconfig, and the memory of which file that was.

NAME/published holds the paths, a line each: $KUBECONFIG may name another file at `down`, or at the next `up`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ..config import ConfigError
from ..state import State

FILE = "published"


def publish(state: State, name: str, tell: Callable[[str], None]) -> bool:
    """Add the context minik8s-NAME and make it the current one; False, and `tell` hears why, if that cannot be."""
    from ..apiserver.kubeconfig import add_context, user_kubeconfig

    before = _paths(state)
    try:
        users = str(user_kubeconfig().resolve())
        if users not in before:
            _remember(state, [*before, users])
        try:
            add_context(name, state.kubeconfig, Path(users))
        except (OSError, ConfigError):
            with contextlib.suppress(OSError):
                _remember(state, before)
            raise
    except (OSError, ConfigError) as error:
        tell(f"(kubectl's own configuration is left alone: {error}; use KUBECONFIG={state.kubeconfig})")
        return False
    return True


def withdraw(state: State, name: str, tell: Callable[[str], None]) -> None:
    """From the files that `up` wrote to, which need not be the one that $KUBECONFIG names now."""
    from ..apiserver.kubeconfig import remove_context

    for users in _paths(state):
        try:
            remove_context(name, Path(users))
        except (OSError, ConfigError) as error:
            tell(f"warning: the context minik8s-{name} stays in kubectl's configuration: {error}")


def anywhere(state: State) -> bool:
    """Whether a kubeconfig of the user's has our context."""
    return bool(_paths(state))


def _paths(state: State) -> list[str]:
    try:
        lines = (state.root / FILE).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return list(dict.fromkeys(line for line in lines if line))


def _remember(state: State, paths: list[str]) -> None:
    (state.root / FILE).write_text("".join(f"{path}\n" for path in paths))
