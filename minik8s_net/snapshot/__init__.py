"""Snapshots: the objects and faults of a moment, to come back to; and one readable file of them to send to somebody.

The kernel is not stored: it follows from the objects, as it always does. So a snapshot is small, and what comes back
is what the components write for those objects.
"""
