"""A full disk and a damaged file: what was acknowledged is kept, what cannot be kept is refused in plain words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minik8s_net.store.store import DamagedError, Store, StoreError

FULL = """
import sys
from pathlib import Path
from tests.apiserver.serving import serving

folder, ballast = Path(sys.argv[1]) / "state", Path(sys.argv[1]) / "ballast"
path, kept = "/api/v1/namespaces/default/configmaps", []
big = {"x": "y" * 20_000}
with serving(folder) as cluster, cluster.api() as api:
    ballast.write_bytes(b"x" * 400_000)
    for number in range(1000):
        answer = api("POST", path, {"metadata": {"name": f"c{number}"}, "data": big})
        if answer.code != 201:
            break
        kept.append(f"c{number}")
    assert kept and (answer.code, answer.json["reason"]) == (507, "InsufficientStorage"), answer.body
    assert "full" in answer.json["message"]
    for _ in range(20):  # and stays alive: reading goes on, writing is refused
        assert len(api.get(path)["items"]) == len(kept)
        assert api("POST", path, {"metadata": {"name": "late"}, "data": big}).code == 507
    ballast.unlink()
    assert api("POST", path, {"metadata": {"name": "late"}, "data": big}).code == 201
    ballast.write_bytes(b"")
with serving(folder) as cluster, cluster.api() as api:
    names = {item["metadata"]["name"] for item in api.get(path)["items"]}
    assert names == {*kept, "late"}, (names, kept)
print("survived", len(kept))
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """On a tmpfs of 2 MB, in a mount namespace of the test's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mine = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = f'mount -t tmpfs -o size=2m none "{disk}" && exec "$0" -c "$1" "{disk}"'
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*mine, "sh", "-c", mount, sys.executable, FULL], cwd=root, capture_output=True, text=True, timeout=60
    )
    if "Operation not permitted" in done.stderr and "unshare" in done.stderr:
        pytest.skip("no mount namespace of one's own here")
    assert done.returncode == 0 and done.stdout.startswith("survived"), done.stderr


def filled(path: Path) -> None:
    store = Store(path)
    for number in range(50):
        store.put("pods", "default", f"p{number}", {"metadata": {"name": f"p{number}"}, "filler": "x" * 500})
    store.close()


@pytest.mark.parametrize("damage", ["header", "page", "text", "row"])
def test_a_damaged_file_is_named_and_so_is_the_way_out(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.db"
    filled(path)
    whole = path.read_bytes()
    if damage == "header":
        path.write_bytes(b"\0" * 100 + whole[100:])
    elif damage == "page":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("this is no database " * 500)
    else:
        path.write_bytes(whole.replace(b'"metadata"', b'"metadeta"'))
    with pytest.raises(StoreError) as refused:
        Store(path)
    said = str(refused.value)
    assert str(path) in said and "snapshot restore" in said and "minik8s down" in said


def test_a_log_that_was_cut_off_costs_nothing_acknowledged_before(tmp_path: Path) -> None:
    """Garbage at the end of SQLite's write-ahead log is what a power cut leaves: it is passed over."""
    path = tmp_path / "store.db"
    filled(path)
    (tmp_path / "store.db-wal").write_bytes(b"garbage" * 1000)
    store = Store(path)
    assert len(store.list("pods")) == 50
    store.close()


def test_what_cannot_be_opened_now_is_not_called_damaged(tmp_path: Path) -> None:
    """A log that cannot be opened, a disk that cannot be read: the objects are there, nobody should begin anew."""
    path = tmp_path / "store.db"
    filled(path)
    (tmp_path / "store.db-wal").mkdir()
    with pytest.raises(StoreError, match="unable to open") as refused:
        Store(path)
    assert not isinstance(refused.value, DamagedError) and "minik8s down" not in str(refused.value)
    (tmp_path / "store.db-wal").rmdir()
    store = Store(path)
    assert len(store.list("pods")) == 50
    store.close()
