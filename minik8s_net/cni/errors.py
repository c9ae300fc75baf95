"""What CNI verbs raise."""

from __future__ import annotations


class CniError(Exception):
    """The wiring is not as it should be, or could not be made: the message names what and where."""
