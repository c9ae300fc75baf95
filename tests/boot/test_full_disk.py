"""On a full disk healing goes on, and `up` says what is the matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

HEALS = """
import os, signal, subprocess, sys, time
from pathlib import Path
from minik8s_net.boot import lifecycle
from minik8s_net.boot.record import Record
from minik8s_net.state import State

def fill(path):
    with open(path, "ab", buffering=0) as ballast:
        for size in (65536, 1):
            try:
                while ballast.write(b"x" * size) == size:
                    pass
            except OSError:
                pass

def cli(*argv):
    return subprocess.run([sys.executable, "-m", "minik8s_net.cli", *argv], capture_output=True, text=True)

def ready(before):
    return lifecycle.is_ready("full") and Record(state).get(part).pid != before

disk = Path(os.environ["MINIK8S_HOME"])
state, ballast = State.of("full"), disk / "ballast"
fill(ballast)
said = cli("up", "--cluster", "full", "--nodes", "1")
assert said.returncode == 1 and "is full: free some space" in said.stderr, said.stderr
assert "Traceback" not in said.stderr and [path.name for path in disk.iterdir()] == ["ballast"], said.stderr
ballast.unlink()
up = cli("up", "--cluster", "full", "--nodes", "1")
assert up.returncode == 0, up.stderr
try:
    for part, patience in (("controller", 20), ("runtime", 2), ("controller", 20)):
        fill(ballast)  # pods get no volumes then, so after the runtime's end not all can be well
        supervisor, victim = Record(state).get("supervisor"), Record(state).get(part)
        os.kill(victim.pid, signal.SIGKILL)
        deadline = time.monotonic() + patience
        while not ready(victim.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert supervisor.alive(), f"the supervisor went with the {part}"
        assert ready(victim.pid) or part == "runtime", (state.logs / "controller.log").read_text()[-2000:]
        ballast.unlink()
        while not ready(victim.pid):
            assert time.monotonic() < deadline + 20, (state.logs / "controller.log").read_text()[-2000:]
            time.sleep(0.05)
    fill(ballast)
finally:
    down = cli("down", "--cluster", "full")
assert down.returncode == 0 and [path.name for path in disk.iterdir()] == ["ballast"], down.stderr
print("survived")
"""


def test_healing_goes_on_when_the_disk_is_full(tmp_path: Path) -> None:
    """On a tmpfs of 6 MB, in a mount namespace of the test's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mine = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = f'mount -t tmpfs -o size=6m none "{disk}" && exec "$0" -c "$1"'
    env = {**os.environ, "HOME": str(tmp_path), "MINIK8S_HOME": str(disk), "KUBECONFIG": str(tmp_path / "config")}
    done = subprocess.run(
        [*mine, "sh", "-c", mount, sys.executable, HEALS], env=env, capture_output=True, text=True, timeout=150,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if "Operation not permitted" in done.stderr and "unshare" in done.stderr:
        pytest.skip("no mount namespace of one's own here")
    assert done.returncode == 0 and done.stdout.endswith("survived\n"), done.stdout + done.stderr
