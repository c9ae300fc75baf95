"""Versioned objects in memory, written through to SQLite. In Kubernetes: etcd and the watch cache.

Every write takes the next revision (`metadata.resourceVersion`, one counter for the whole store) in the same
transaction as the object. Memory is changed and subscribers are told only after SQLite has committed (WAL,
synchronous=FULL), so memory is never ahead of the disk and an acknowledged write survives `kill -9`. A failed
write changes nothing; reading goes on. Subscribers are called synchronously, in order of commit; one that
writes itself is served after the running notification, never inside it. One thread only: the event loop's.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ..api.errors import StatusError
from .history import History
from .version import Event, Json, Version

LOCK_PATIENCE = 2.0  # seconds that a controller which is just ending gets to let go of the file
HISTORY = 4096  # events per resource that a watch can resume from
HISTORY_BYTES = 32 << 20  # and bytes of their objects (the versions before them can double that)
PASSING = (  # what the machine lacks or somebody holds, for now: the file is as we wrote it
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
)  # fmt: skip
Handler = Callable[[Event], None]
Versions = list[Version]
Events = list[Event]
log = logging.getLogger(__name__)
_encode = msgspec.json.encode
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT, namespace TEXT, name TEXT, body BLOB NOT NULL, PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (id INTEGER PRIMARY KEY CHECK (id = 0), value INTEGER NOT NULL);
INSERT OR IGNORE INTO revision VALUES (0, 1);
"""


def stored_count(database: Path, resource: str) -> int:
    """How many objects of a resource ("nodes", "deployments.apps") a cluster's database holds, running or not."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT count(*) FROM objects WHERE resource = ?", (resource,)).fetchone()
    return int(found[0])


class StoreError(Exception):
    """The database cannot be opened: says which file and why."""


class DamagedError(StoreError):
    """The file is not what we wrote: starting again would not mend it."""


def unavailable(error: sqlite3.Error) -> StatusError:
    """What a client is told of a write that SQLite refused: nothing was stored, and why."""
    details = {"causes": [{"message": str(error)}]}
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        said = "the disk that holds the cluster's store is full: nothing was changed; free some space and try again"
        return StatusError(507, "InsufficientStorage", said, details)
    return StatusError(500, "InternalError", f"Internal error occurred: the store refused the write: {error}", details)


def damaged(path: Path, error: Exception) -> DamagedError:
    """What to say, and to do, when the database is not what it should be."""
    return DamagedError(
        f"{path}:\nthe cluster's store cannot be read: {error}.\n"
        "`minik8s snapshot restore` brings a saved one back;\n"
        "`minik8s down`, then `minik8s up`, begins a new cluster."
    )


class Expired(Exception):
    """The revision asked for has left the history: list again. HTTP 410."""


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, isolation_level=None, timeout=LOCK_PATIENCE)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


class Store:
    """Objects by (resource, namespace, name); resource is `pods` or `deployments.apps`."""

    def __init__(self, path: Path) -> None:
        """Open or create the database. Raises StoreError. (Cluster-scoped objects have namespace "".)"""
        self._objects: dict[str, dict[tuple[str, str], Version]] = {}
        self._sorted: dict[str, Versions] = {}
        self._history: dict[str, History] = {}
        self._subscribers: dict[str, list[Handler]] = {}
        self._pending: deque[Event] = deque()
        self._notifying = False
        self._db = _connect(path)
        try:
            # EXCLUSIVE: a second controller on the same cluster is refused instead of overwriting us.
            self._db.executescript(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA
            )
            (self.revision,) = self._db.execute("SELECT value FROM revision").fetchone()
            self._load()
        except (sqlite3.OperationalError, sqlite3.DatabaseError, msgspec.DecodeError, KeyError, TypeError) as error:
            self._db.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING:
                raise StoreError(f"{path}: {error}") from error
            raise damaged(path, error) from error
        self._oldest = self.revision  # nothing before this start can be replayed

    def _load(self) -> None:
        """All objects into memory. Raises what a damaged file makes it raise."""
        for resource, namespace, name, body in self._db.execute("SELECT * FROM objects"):
            tree = msgspec.json.decode(body, type=dict)
            if int(tree["metadata"]["resourceVersion"]) > self.revision:
                raise KeyError(f"{resource} {namespace}/{name} is newer than the store")
            self._objects.setdefault(resource, {})[namespace, name] = Version(resource, namespace, name, tree, body)

    def close(self) -> None:
        """Let go of the file; what was acknowledged is in it."""
        self._db.close()

    # -- reading ---------------------------------------------------------------------------------------------
    def get(self, resource: str, namespace: str, name: str) -> Version | None:
        """The present version, None if there is none. (Cluster-scoped: namespace "".)"""
        return self._objects.get(resource, {}).get((namespace, name))

    def resources(self) -> list[str]:
        """Every resource that has at least one object."""
        return [resource for resource, objects in self._objects.items() if objects]

    def list(self, resource: str, namespace: str | None = None) -> Versions:
        """In order of namespace and name. The list is shared: read only."""
        if (ordered := self._sorted.get(resource)) is None:
            objects = self._objects.get(resource, {})
            ordered = self._sorted[resource] = [objects[key] for key in sorted(objects)]
        return ordered if namespace is None else [v for v in ordered if v.namespace == namespace]

    # -- writing ---------------------------------------------------------------------------------------------
    def put(self, resource: str, namespace: str, name: str, tree: Json) -> Version:
        """Create or replace. Takes `tree` over, sets metadata.resourceVersion. Raises StatusError (500)."""
        old = self.get(resource, namespace, name)
        tree["metadata"]["resourceVersion"] = str(self.revision + 1)
        version = Version(resource, namespace, name, tree, _encode(tree))
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
                (resource, namespace, name, version.body),
            )
        self._objects.setdefault(resource, {})[namespace, name] = version
        self._committed(Event("MODIFIED" if old else "ADDED", self.revision, version, old))
        return version

    def remove(self, resource: str, namespace: str, name: str) -> Version:
        """Delete for good; the last state, in the event, has the deletion's revision. Raises KeyError."""
        old = self._objects[resource][namespace, name]
        tree = {**old.tree, "metadata": {**old.tree["metadata"], "resourceVersion": str(self.revision + 1)}}
        with self._transaction():
            self._db.execute(
                "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
                (resource, namespace, name),
            )
        del self._objects[resource][namespace, name]
        last = Version(resource, namespace, name, tree, _encode(tree))
        self._committed(Event("DELETED", self.revision, last, old))
        return last

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("UPDATE revision SET value = ?", (self.revision + 1,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            log.error("write refused: %s", error)
            raise unavailable(error) from error
        self.revision += 1

    # -- watching --------------------------------------------------------------------------------------------
    def subscribe(self, resource: str, handler: Handler) -> Callable[[], None]:
        """Call `handler` with every event of `resource` from now on. Returns what ends it."""
        handlers = self._subscribers.setdefault(resource, [])
        handlers.append(handler)

        def cancel() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return cancel

    def since(self, resource: str, revision: int) -> Events:
        """The events after `revision`, oldest first. Raises Expired."""
        history = self._history.get(resource)
        if revision < max(self._oldest, history.dropped if history else 0):
            raise Expired(f"too old resource version: {revision} ({self.revision})")
        return [event for event in history.events if event.revision > revision] if history else []

    def changed_since(self, resource: str, revision: int) -> bool:
        """Whether anything of `resource` was written after `revision` (or may have been: before this start)."""
        history = self._history.get(resource)
        return revision < self._oldest or bool(history and history.events[-1].revision > revision)

    def _committed(self, event: Event) -> None:
        resource = event.new.resource
        self._sorted.pop(resource, None)
        self._history.setdefault(resource, History()).append(event, HISTORY, HISTORY_BYTES)
        self._pending.append(event)
        if self._notifying:
            return
        self._notifying = True
        try:
            while self._pending:
                event = self._pending.popleft()
                for handler in tuple(self._subscribers.get(event.new.resource, ())):
                    self._call(handler, event)
                for past in (event.old, event.new if event.type == "DELETED" else None):
                    if past is not None:
                        past.rest()
        finally:
            self._notifying = False

    @staticmethod
    def _call(handler: Handler, event: Event) -> None:
        try:
            handler(event)
        except Exception:  # one bad subscriber must not hide a committed event from the others
            log.exception("subscriber failed on %s", event)

    # -- copies ----------------------------------------------------------------------------------------------
    def backup(self, path: Path) -> None:
        """Write a consistent copy of the whole database to `path` (for snapshots)."""
        target = sqlite3.connect(path)
        try:
            self._db.backup(target)
        finally:
            target.close()
