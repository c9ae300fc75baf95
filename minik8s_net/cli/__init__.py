"""The minik8s command. Quick to start: heavy imports only inside the commands that need them.

`main.py` is the index: every command, its flags, and the file that does it.
"""

from __future__ import annotations


def main() -> None:
    """The console script."""
    from .main import run

    run()
