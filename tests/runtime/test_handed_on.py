"""What a container is born with: of the runtime, of the machine and of other containers nothing that can be used."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from pathlib import Path

import pytest

from minik8s_net.runtime.client import RuntimeClient
from minik8s_net.runtime.cri import Mount

from .conftest import Runtime
from .test_runtime import ended, pod, start
from .test_shut_in import SLEEP, sh

pytestmark = pytest.mark.netns
CHMOD = "import os; os.chmod('/proc/self/exe', os.stat('/proc/self/exe').st_mode & 0o7777)"  # to what it is


def test_the_interpreter_cannot_be_changed_by_proc_self_exe(runtime: Runtime) -> None:
    """Containers are forks of the runtime, so /proc/self/exe is the machine's Python until they exec."""

    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, python = await pod(client, "exe"), sys.base_prefix
        number = await start(
            client, logs, sandbox, "own", image="busybox", command=["/proc/self/exe", "-S", "-c", CHMOD],
            env={"PYTHONHOME": python}, mounts=[] if python == "/usr" else [Mount(python, python, True)],
        )  # fmt: skip
        assert (await ended(client, number)).exit_code == 1
        said = (logs / sandbox / "own.log").read_text()
        assert "OSError: [Errno 30] Read-only file system: '/proc/self/exe'" in said
        # PID 1, and a built-in server, are such forks for good
        text = "chmod $(stat -Lc %a /proc/$0/exe) /proc/$0/exe"
        for privileged in (False, True):
            name = f"server-{privileged}"
            server = await start(client, logs, sandbox, name, image="agnhost", args=["pause"], privileged=privileged)
            for pid in ("1", "2"):
                code, _, err = await client.exec_sync(server, ["sh", "-c", text, pid], 5)
                assert code and (b"Read-only file system" if privileged else b"Permission denied") in err

    runtime.run(script)


def test_device_nodes_are_the_machines_and_stay_as_they_are(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        number = await start(client, logs, await pod(client, "nodes"), "c", image="busybox", command=SLEEP)
        assert (await sh(client, number, "echo x > /dev/null && head -c 9 /dev/urandom | wc -c"))[1].strip() == "9"
        masked = [path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list") if Path(path).exists()]
        for path in ("/dev/null", "/dev/tty", "/proc/self/fd/0", *masked):
            code, said = await sh(client, number, f"test -c {path} && chmod $(stat -Lc %a {path}) {path}")
            assert code and "Read-only file system" in said, (path, said)
        assert "Read-only file system" in (await sh(client, number, "chmod 666 /proc/2/fd/0"))[1]
        await client.stop_container(number, 0)

    runtime.run(script)


def test_an_execs_input_ends_whoever_else_runs(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox = await pod(client, "eof")
        number = await start(client, logs, sandbox, "c", image="busybox", command=SLEEP)
        # all at once: the pipe of the first is still the runtime's when the others are born
        cat, *others = await asyncio.gather(
            client.exec(number, ["cat"], stdin=True),
            client.exec(number, SLEEP),
            client.exec(number, SLEEP, tty=True, stdin=True),
            start(client, logs, sandbox, "later", image="busybox", command=SLEEP),
            start(client, logs, sandbox, "server", image="nginx"),
        )
        assert cat.stdin is not None and len(others) == 4
        os.write(cat.stdin, b"x\n")
        os.close(cat.stdin)
        assert select.select([cat.status], [], [], 5)[0] and os.read(cat.status, 9) == b"0"
        assert os.read(cat.stdout, 9) == b"x\n"

    runtime.run(script)


def descriptors(pid: int) -> set[str]:
    """What is open in a process, but pipes and the ends of its terminal."""
    every = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return {name for name in every if not name.startswith(("pipe:", "/dev/pt", "/dev/pts"))}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_container_holds_nothing_of_the_runtime_or_of_others(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        other = await start(client, logs, await pod(client, "other"), "c", image="busybox", command=SLEEP)
        running = await client.exec(other, SLEEP, tty=True)
        sandbox = await pod(client, "held")
        output = str(Path(runtime.state.logs / "runtime.log"))
        for name, more in {"tool": {"command": SLEEP}, "tty": {"command": SLEEP, "tty": True}, "server": {}}.items():
            image = "busybox" if more else "nginx"
            number = await start(client, logs, sandbox, name, image=image, **more)
            workload = (await client.container_status(number)).pid
            # the log, and its folder by a mount of its own: nothing is above it
            assert descriptors(parent(workload)) - {"/dev/null"} == {output, "/", f"/{name}.log"}
            mine = descriptors(workload) - {"/dev/null", "/"}
            assert all(d.startswith(("socket:", "anon_inode:")) for d in mine) and (image == "nginx" or not mine)
        assert descriptors(parent(running.pid)) == {output}
        folder = next(fd for fd in Path(f"/proc/{parent(workload)}/fd").iterdir() if fd.is_dir())
        above = [path.name for path in (folder / "../../..").iterdir()]
        assert sorted(above) == sorted(path.name for path in (logs / sandbox).iterdir())

    runtime.run(script)


def test_whoever_is_seen_in_a_container_has_no_more_power_than_it(runtime: Runtime) -> None:
    """With CAP_SYS_PTRACE a container may take over its PID 1, or an exec on its way in."""

    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, power = await pod(client, "power"), "grep CapEff /proc/{}/status"
        for name, added in (("plain", []), ("debug", ["SYS_PTRACE"])):
            more = {"image": "busybox", "command": SLEEP, "add_capabilities": added}
            number = await start(client, logs, sandbox, name, **more)
            said = await sh(client, number, power.format("self"))
            assert said == await sh(client, number, power.format(1)) and said[0] == 0
            streams = await client.exec(number, SLEEP)  # its parent was what it was when it came in
            assert said[1] in Path(f"/proc/{parent(streams.pid)}/status").read_text()

    runtime.run(script)


def test_the_runtimes_memory_is_not_for_reading(runtime: Runtime) -> None:
    """A built-in server is a fork of the runtime, which knows every pod's environment."""

    async def script(client: RuntimeClient, logs: Path) -> None:
        number = await start(client, logs, await pod(client, "memory"), "c", image="nginx")
        for pid in (1, 2):
            for what in ("mem", "environ", "maps"):
                code, said = await sh(client, number, f"cat /proc/{pid}/{what} | head -c 1")
                assert "Permission denied" in said, (pid, what, code, said)
        await client.stop_container(number, 0)

    runtime.run(script)
