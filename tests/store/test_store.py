"""The store: durable, ordered, never ahead of the disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minik8s_net.api.errors import StatusError
from minik8s_net.store import store as module
from minik8s_net.store.store import Expired, Store, StoreError
from minik8s_net.store.version import Event

WRITER = """
import sys
from pathlib import Path
from minik8s_net.store.store import Store
store = Store(Path(sys.argv[1]))
for number in range(100_000):
    name = f"n{number % 50}"
    version = store.put("pods", "default", name, {"metadata": {"name": name}, "number": number})
    print(name, number, version.revision, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    yield store
    store.close()


def put(store: Store, name: str, namespace: str = "default", **more: object) -> str:
    return store.put("pods", namespace, name, {"metadata": {"name": name}, **more}).revision


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    acknowledged: dict[str, tuple[int, int]] = {}
    for least in (200, 500):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            for count, line in enumerate(writer.stdout):
                if not line.endswith("\n"):
                    break  # the kill cut this acknowledgement in two
                name, *told = line.split()
                acknowledged[name] = int(told[0]), int(told[1])
                if count == least:
                    writer.send_signal(signal.SIGKILL)
        store = Store(path)
        newest = max(revision for _, revision in acknowledged.values())
        assert newest <= store.revision <= newest + 1  # at most the one write whose acknowledgement was cut off
        for name, (number, revision) in acknowledged.items():
            found = store.get("pods", "default", name)
            assert found and int(found.revision) >= revision and found.tree["number"] >= number
        store.close()


def test_revisions_rise_by_one_over_all_resources_and_restarts(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    first = int(put(store, "a"))
    assert int(store.put("nodes", "", "n", {"metadata": {"name": "n"}}).revision) == first + 1
    assert int(store.remove("pods", "default", "a").revision) == first + 2
    store.close()
    again = Store(tmp_path / "store.db")
    assert again.revision == first + 2
    assert again.get("pods", "default", "a") is None
    assert int(put(again, "a")) == first + 3
    again.close()


def test_events_come_in_order_with_the_object_before(store: Store) -> None:
    seen: list[Event] = []
    cancel = store.subscribe("pods", seen.append)
    put(store, "a", number=1)
    put(store, "a", number=2)
    store.remove("pods", "default", "a")
    cancel()
    put(store, "a")
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event.old and event.old.tree["number"] for event in seen] == [None, 1, 2]
    assert seen[2].new.revision == str(seen[2].revision)


def test_a_replaced_version_keeps_its_bytes_only_and_still_tells_all(store: Store) -> None:
    """Thousands of them are kept for watches; as trees they would make each garbage collection a long pause."""
    put(store, "a", number=1)
    old = store.get("pods", "default", "a")
    assert old is not None
    tree, revision = old.tree, old.revision
    put(store, "a", number=2)
    assert old.tree == tree and old.tree is not tree and old.revision == revision
    new = store.get("pods", "default", "a")
    assert new is not None and new.tree is new.tree
    last = store.remove("pods", "default", "a")
    assert last.tree["number"] == new.tree["number"] == 2
    events = store.since("pods", 1)
    versions = [version for event in events for version in (event.old, event.new) if version is not None]
    assert all(version._tree is None and version._typed is None for version in versions)
    assert [event.new.tree["number"] for event in events] == [1, 2, 2]


def test_a_subscriber_that_writes_is_told_afterwards_and_in_order(store: Store) -> None:
    first: list[str] = []
    second: list[str] = []

    def writer(event: Event) -> None:
        first.append(event.new.name)
        if event.new.name == "a":
            for name in ("b", "c"):
                put(store, name)

    store.subscribe("pods", writer)
    store.subscribe("pods", lambda event: second.append(event.new.name))
    put(store, "a")
    assert first == second == ["a", "b", "c"]


def test_a_failing_subscriber_hides_nothing_from_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []
    store.subscribe("pods", lambda event: 1 / 0)  # type: ignore[arg-type]
    store.subscribe("pods", seen.append)
    put(store, "a")
    assert len(seen) == 1
    assert "ZeroDivisionError" in caplog.text


def test_history_is_replayed_and_expires(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY", 10)
    start = store.revision
    for number in range(10):
        put(store, f"p{number}")
    assert [event.new.name for event in store.since("pods", start + 7)] == ["p7", "p8", "p9"]
    assert len(store.since("pods", start)) == 10
    put(store, "p10")
    assert len(store.since("pods", start + 1)) == 10
    with pytest.raises(Expired):
        store.since("pods", start)


def test_nothing_before_the_start_can_be_replayed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    put(store, "a")
    store.close()
    again = Store(tmp_path / "store.db")
    assert again.since("pods", again.revision) == []
    with pytest.raises(Expired):
        again.since("pods", again.revision - 1)
    again.close()


def test_lists_are_ordered_by_namespace_and_name(store: Store) -> None:
    for namespace, name in (("b", "a"), ("a", "z"), ("a", "b")):
        put(store, name, namespace)
    assert [(v.namespace, v.name) for v in store.list("pods")] == [("a", "b"), ("a", "z"), ("b", "a")]
    assert [v.name for v in store.list("pods", "a")] == ["b", "z"]


def test_a_refused_write_changes_nothing(store: Store) -> None:
    put(store, "a", number=1)
    seen: list[Event] = []
    store.subscribe("pods", seen.append)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")  # a full disk
    with pytest.raises(StatusError) as refused:
        put(store, "a", number=2, filler="x" * 1_000_000)
    assert refused.value.code == 507 and "disk" in str(refused.value)
    found, revision = store.get("pods", "default", "a"), store.revision
    assert found and found.tree["number"] == 1 and not seen
    store._db.execute("PRAGMA max_page_count=1000000")
    assert put(store, "a", number=3) == str(revision + 1)


def test_one_controller_per_database(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.05)
    put(store, "a")
    with pytest.raises(StoreError, match=r"store\.db: database is locked"):
        Store(tmp_path / "store.db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("hello" * 1000)
    with pytest.raises(StoreError, match=r"store\.db"):
        Store(tmp_path / "store.db")


def test_a_backup_is_a_store(store: Store, tmp_path: Path) -> None:
    put(store, "a", number=7)
    store.backup(tmp_path / "copy.db")
    copy = Store(tmp_path / "copy.db")
    found = copy.get("pods", "default", "a")
    assert found and found.tree["number"] == 7 and copy.revision == store.revision
    copy.close()


def test_history_is_bounded_in_bytes_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 100_000)
    start = store.revision
    for _ in range(20):
        put(store, "big", filler="x" * 20_000)
    kept = store.since("pods", start + 16)
    assert len(kept) == 4 and sum(len(event.new.body) for event in kept) <= 100_000
    with pytest.raises(Expired):
        store.since("pods", start + 15)
    put(store, "huge", filler="x" * 200_000)  # the newest is always there
    assert [event.new.name for event in store.since("pods", store.revision - 1)] == ["huge"]
    assert store.changed_since("pods", store.revision - 1)
    for _ in range(10):
        put(store, "small")
    assert len(store.since("pods", store.revision - 10)) == 10


def test_a_budget_for_each_resource(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 1000)
    start = store.revision
    put(store, "a")
    for _ in range(5):
        store.put("nodes", "", "n", {"metadata": {"name": "n"}, "filler": "x" * 900})
    assert [event.new.name for event in store.since("pods", start)] == ["a"]
