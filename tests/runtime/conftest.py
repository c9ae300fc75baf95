"""A private runtime per test module. The test process stays on the host: what must run inside runs in a child that
joins, executes an `async def` against a connected RuntimeClient, and reports failure by its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from minik8s_net.runtime import daemon
from minik8s_net.runtime.client import RuntimeClient
from minik8s_net.runtime.join import join, remove_names
from minik8s_net.state import State

Script = Callable[[RuntimeClient, Path], Awaitable[None]]


class Runtime:
    def __init__(self, root: Path) -> None:
        self.cluster = f"rt{os.getpid()}"  # names in /run/netns are the machine's: don't meet another's
        self.state = State(root / self.cluster)
        self.state.root.mkdir()
        self.pid = daemon.start(self.state, self.cluster)

    def run(self, script: Script) -> None:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                join(self.pid)
                asyncio.run(self._connected(script))
                code = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, "the script inside failed; see stderr"

    async def _connected(self, script: Script) -> None:
        client = RuntimeClient()
        await client.connect()
        await asyncio.wait_for(script(client, self.state.pods), 30)
        await client.close()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while Path(f"/proc/{self.pid}").exists() and time.monotonic() < deadline:
            if "State:\tZ" in (Path(f"/proc/{self.pid}") / "status").read_text():
                break
            time.sleep(0.01)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    one = Runtime(tmp_path_factory.mktemp("runtime"))
    yield one
    one.kill()
    remove_names(one.state)
