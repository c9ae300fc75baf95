"""Watch and concurrency: nothing is missed, nothing is out of order, no update is lost."""

from __future__ import annotations

import http.client
import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from minik8s_net.apiserver import watching
from minik8s_net.store import store as store_module

from .serving import Api, Json, Serving


@pytest.fixture
def configmaps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config(name: str, **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": labels}, "data": {"count": "0"}}


def events(api: Api, path: str, until: Any = lambda seen: False) -> list[Json]:
    """The events of a watch until `until` (of those seen), or the server ends it."""
    seen: list[Json] = []
    with api.open("GET", path) as response:
        assert response.status == 200
        while line := response.readline():
            seen.append(json.loads(line))
            if until(seen):
                api.close()
                break
    return seen


def told(seen: list[Json]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in seen]


def revisions(seen: list[Json]) -> list[int]:
    return [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]


def test_concurrent_writers_are_seen_completely_and_in_order(cluster: Serving, configmaps: str) -> None:
    """Four writers over HTTPS create 1000 objects, change some, delete some; two watches and a replay agree."""

    def write(writer: int) -> dict[str, int]:
        newest: dict[str, int] = {}
        with cluster.api() as api:
            for number in range(250):
                name = f"w{writer}-{number}"
                newest[name] = int(api.create(configmaps, config(name))["metadata"]["resourceVersion"])
                if number % 5 == 0:
                    newest[name] = int(api("PUT", f"{configmaps}/{name}", {**config(name), "data": {}}).revision)
                if number % 10 == 0:
                    assert api("DELETE", f"{configmaps}/{name}").code == 200
        return newest

    with cluster.api() as one, cluster.api() as other, cluster.api() as api, ThreadPoolExecutor(6) as pool:
        start = api.get(configmaps)["metadata"]["resourceVersion"]
        watch = f"{configmaps}?watch=1&resourceVersion={start}"
        full = 4 * (250 + 50 + 25)
        watches = [pool.submit(events, each, watch, lambda seen: len(seen) == full) for each in (one, other)]
        written = [pool.submit(write, writer) for writer in range(4)]
        newest = {name: revision for each in written for name, revision in each.result().items()}
        seen, also = (each.result() for each in watches)
        replay = events(api, watch, lambda seen: len(seen) == full)
    assert seen == also == replay
    assert revisions(seen) == sorted(set(revisions(seen)))
    changes = zip(told(seen), revisions(seen), strict=True)
    last = {name: revision for (type_, name), revision in changes if type_ != "DELETED"}
    assert last == newest
    assert sum(type_ == "DELETED" for type_, _ in told(seen)) == 100
    with cluster.api() as api:
        kept = {item["metadata"]["name"] for item in api.get(configmaps)["items"]}
    assert kept == newest.keys() - {name for type_, name in told(seen) if type_ == "DELETED"}


def test_twenty_writers_on_one_object_lose_no_update(cluster: Serving, api: Api, configmaps: str) -> None:
    api.create(configmaps, config("counter"))
    conflicts: list[int] = []

    def count_up(_: int) -> None:
        with cluster.api() as mine:
            for _ in range(5):
                while True:
                    present = mine.get(f"{configmaps}/counter")
                    present["data"]["count"] = str(int(present["data"]["count"]) + 1)
                    answer = mine("PUT", f"{configmaps}/counter", present)
                    if answer.code == 200:
                        break
                    assert answer.code == 409 and answer.json["reason"] == "Conflict"
                    conflicts.append(1)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(count_up, range(20)))
    assert api.get(f"{configmaps}/counter")["data"]["count"] == "100"
    assert conflicts  # there was something to lose


def test_an_old_revision_is_gone(cluster: Serving, api: Api, configmaps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "HISTORY", 5)
    path = configmaps.replace("configmaps", "limitranges")
    cluster.call(lambda: cluster.registry.store._history.pop("limitranges", None))  # the next is of the new length
    limits = {"limits": [{"type": "Pod"}]}
    start = api.create(path, {"metadata": {"name": "l0"}, "spec": limits})["metadata"]["resourceVersion"]
    for number in range(1, 8):
        api.create(path, {"metadata": {"name": f"l{number}"}, "spec": limits})
    (gone,) = events(api, f"{path}?watch=1&resourceVersion={start}")
    assert gone["type"] == "ERROR"
    assert (gone["object"]["code"], gone["object"]["reason"]) == (410, "Expired")
    assert gone["object"]["message"].startswith("too old resource version: ")
    future = api("GET", f"{path}?watch=1&resourceVersion=99999999")
    assert (future.code, future.json["reason"]) == (504, "Timeout")


def test_selected_objects_come_and_go(api: Api, cluster: Serving, configmaps: str) -> None:
    start = api.create(configmaps, config("a", team="red"))["metadata"]["resourceVersion"]
    for labels in ({"team": "blue"}, {"team": "blue", "x": "y"}, {"team": "red"}):
        assert api("PUT", f"{configmaps}/a", config("a", **labels)).code == 200
    path = f"{configmaps}?watch=true&resourceVersion={start}&labelSelector=team%3Dred&timeoutSeconds=1"
    seen = events(api, path, lambda seen: len(seen) == 2)
    assert told(seen) == [("DELETED", "a"), ("ADDED", "a")]
    gone = seen[0]["object"]["metadata"]
    assert gone["labels"] == {"team": "red"}  # as it was when it last matched
    assert int(start) < int(gone["resourceVersion"]) < int(seen[1]["object"]["metadata"]["resourceVersion"])


def test_initial_events_bookmarks_and_timeout(api: Api, configmaps: str) -> None:
    api.create(configmaps, config("a"))
    path = f"{configmaps}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersionMatch=NotOlderThan"
    first, mark, last = events(api, f"{path}&sendInitialEvents=true")
    assert told([first]) == [("ADDED", "a")]
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (mark["type"], last["type"]) == ("BOOKMARK", "BOOKMARK")


def test_a_watch_of_tables_sends_its_columns_once(cluster: Serving, api: Api, configmaps: str) -> None:
    for name in ("a", "b"):
        api.create(configmaps, config(name))
    with api.open("GET", f"{configmaps}?watch=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io") as response:
        one, two = json.loads(response.readline())["object"], json.loads(response.readline())["object"]
        api.close()
    assert one["kind"] == two["kind"] == "Table"
    assert one["columnDefinitions"] and not two["columnDefinitions"]
    assert [table["rows"][0]["cells"][0] for table in (one, two)] == ["a", "b"]


def test_a_watcher_that_does_not_read_disturbs_nobody(cluster: Serving, api: Api, configmaps: str) -> None:
    big = {"metadata": {"name": "big"}, "data": {"x": "y" * 500_000}}
    with cluster.api() as idle, idle.open("GET", f"{configmaps}?watch=1"):
        api.create(configmaps, big)
        for number in range(40):
            big["data"]["n"] = str(number)
            assert api("PUT", f"{configmaps}/big", big).code == 200
        idle.close()


def test_a_watcher_that_does_not_read_is_cut_off(
    cluster: Serving, api: Api, configmaps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept for it: what it has not been told by then it lists again."""
    monkeypatch.setattr(watching, "QUEUE_BYTES", 2_000_000)
    handlers = cluster.registry.store._subscribers["configmaps"]
    before = cluster.call(lambda: len(handlers))
    big = {"metadata": {"name": "big"}, "data": {"x": "y" * 500_000}}
    with cluster.api() as idle, idle.open("GET", f"{configmaps}?watch=1") as response:
        api.create(configmaps, big)
        assert cluster.call(lambda: len(handlers)) == before + 1
        for number in range(60):  # more than sockets and buffers hold
            big["data"]["n"] = str(number)
            assert api("PUT", f"{configmaps}/big", big).code == 200
        deadline = time.monotonic() + 5
        while cluster.call(lambda: len(handlers)) > before:
            assert time.monotonic() < deadline, "still subscribed"
            time.sleep(0.02)
        with pytest.raises((OSError, http.client.HTTPException)):
            while line := response.readline():
                assert json.loads(line)["type"] in ("ADDED", "MODIFIED")
            raise http.client.IncompleteRead(b"")
        idle.close()


def test_what_there_was_to_begin_with_is_no_lag(
    cluster: Serving, api: Api, configmaps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "QUEUE_BYTES", 100_000)
    for number in range(40):  # more than sockets and buffers hold
        api.create(configmaps, {"metadata": {"name": f"c{number:02}"}, "data": {"x": "y" * 500_000}})
    with cluster.api() as slow, slow.open("GET", f"{configmaps}?watch=1") as response:
        api.create(configmaps, config("last"))
        seen = [json.loads(response.readline()) for _ in range(41)]
        slow.close()
    assert [name for _, name in told(seen)] == [*(f"c{number:02}" for number in range(40)), "last"]


def test_many_idle_watches_disturb_nobody(cluster: Serving, api: Api, configmaps: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1000):
            watcher = stack.enter_context(cluster.api())
            stack.enter_context(watcher.open("GET", "/api/v1/secrets?watch=1"))
        begin = time.monotonic()
        for number in range(20):
            api.create(configmaps, config(f"c{number}"))
        assert time.monotonic() - begin < 5
        api.close()
