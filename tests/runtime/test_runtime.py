"""The runtime, driven through its client: a container is a real process, shut in."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import resource
import struct
import termios
import time
from pathlib import Path

import pytest

from minik8s_net.runtime.client import RuntimeClient
from minik8s_net.runtime.cri import ContainerConfig, ContainerStatus, CriError, SandboxConfig
from minik8s_net.runtime.join import remove_names

from .conftest import Runtime

pytestmark = pytest.mark.netns
UP = ["sh", "-c", "ip link set lo up"]


async def pod(client: RuntimeClient, name: str) -> str:
    sandbox = await client.run_pod_sandbox(
        SandboxConfig("default", name, f"uid-{name}", 0, name, resolv_conf="nameserver 10.96.0.10\n")
    )
    return sandbox.id


async def start(client: RuntimeClient, logs: Path, sandbox: str, name: str, **more: object) -> str:
    config = ContainerConfig(name=name, attempt=0, log_path=str(logs / sandbox / f"{name}.log"), **more)  # type: ignore[arg-type]
    number = await client.create_container(sandbox, config)
    await client.start_container(number)
    return number


async def ended(client: RuntimeClient, number: str) -> ContainerStatus:
    while (status := await client.container_status(number)).state != "exited":
        await asyncio.sleep(0.01)
    return status


async def web(client: RuntimeClient, logs: Path, name: str) -> str:
    """A pod with nginx and its loopback up (the CNI's work, done by a privileged container here)."""
    sandbox = await pod(client, name)
    await ended(client, await start(client, logs, sandbox, "up", image="busybox", command=UP, privileged=True))
    return await start(client, logs, sandbox, "web", image="docker.io/library/nginx:1.27")


def test_a_command_logs_exit_code_and_message(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        text = "hostname; echo $COLOUR; pwd; echo bad >&2; echo why > /dev/termination-log; "
        text += "printf 'dos\\r\\nrest'; exit 3"
        sandbox = await pod(client, "logs")
        number = await start(
            client, logs, sandbox, "c", image="busybox", command=["sh", "-c"], args=[text],
            env={"COLOUR": "blue"}, working_dir="/tmp/deep",
        )  # fmt: skip
        status = await ended(client, number)
        assert (status.exit_code, status.reason, status.message) == (3, "Error", "why\n")
        lines = (logs / sandbox / "c.log").read_text().splitlines()
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z std(out|err) F ", line) for line in lines)
        said = [line.split(" ", 3)[3] for line in lines if " stdout " in line]
        assert said == ["logs", "blue", "/tmp/deep", "dos", "rest"]
        assert b" stdout F dos\r\n" in (logs / sandbox / "c.log").read_bytes()
        assert [line.split(" ", 3)[3] for line in lines if " stderr " in line] == ["bad"]

    runtime.run(script)


def test_a_long_line_is_split_and_marked_partial(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox = await pod(client, "long")
        text = ["sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo"]
        await ended(client, await start(client, logs, sandbox, "c", image="busybox", command=text))
        pieces = [line.split(" ", 3)[2:] for line in (logs / sandbox / "c.log").read_text().splitlines()]
        assert [(tag, len(piece)) for tag, piece in pieces] == [("P", 16384), ("P", 16384), ("F", 7232)]

    runtime.run(script)


def test_the_host_cannot_be_written_or_spied_on(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        number = await start(client, logs, await pod(client, "jail"), "c", image="busybox", command=["sleep", "60"])

        async def tried(text: str) -> int:
            return (await client.exec_sync(number, ["sh", "-c", text], 5))[0]

        assert await tried("touch /usr/x") and await tried("mount -o remount,rw /usr")
        assert await tried("cat /etc/shadow") and await tried("ls /etc/ssh") and await tried("ls -A /root | grep .")
        assert await tried("echo 1 > /proc/sys/kernel/sysrq")
        assert await tried("ip link add d0 type dummy")
        assert await tried("echo mine >> /etc/passwd && rm /etc/services") == 0
        _, out, _ = await client.exec_sync(number, ["sh", "-c", "cat /proc/[0-9]*/comm | wc -l"], 5)
        assert int(out) < 8
        await client.stop_container(number, 0)

    runtime.run(script)
    assert "mine" not in Path("/etc/passwd").read_text() and Path("/etc/services").exists()


def test_localhost_is_shared_in_a_pod_and_not_across(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        first = await web(client, logs, "one")
        other = await pod(client, "two")
        await ended(client, await start(client, logs, other, "up", image="busybox", command=UP, privileged=True))
        curl = ["curl", "-s", "-i", "http://localhost/"]
        beside = first.rsplit("-", 2)[0]
        tool = await start(client, logs, beside, "tool", image="curlimages/curl", command=["sleep", "60"])
        code, out, _ = await client.exec_sync(tool, curl, 5)
        assert code == 0 and b"Welcome to nginx!" in out and b"HTTP/1.1 200 OK" in out and b"<em>one</em>" in out
        alone = await start(client, logs, other, "tool", image="busybox", command=["sleep", "60"])
        assert (await client.exec_sync(alone, curl, 5))[0] == 7

        clash = await start(client, logs, beside, "clash", image="nginx")
        assert (await ended(client, clash)).exit_code == 1
        assert "bind() to 0.0.0.0:80 failed (98: Address already in use)" in (logs / beside / "clash.log").read_text()

        write = "echo hello > /usr/share/nginx/html/index.html; curl -s localhost/; "
        write += "curl -so /dev/null -w %{http_code} localhost/no"
        assert (await client.exec_sync(first, ["sh", "-c", write], 5))[1] == b"hello\n404"
        assert '"GET /no HTTP/1.1" 404' in (logs / beside / "web.log").read_text()
        await client.stop_container(first, 5)
        assert (await client.container_status(first)).exit_code == 0

    runtime.run(script)


def test_agnhost_netexec(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox = await pod(client, "agn")
        await ended(client, await start(client, logs, sandbox, "up", image="busybox", command=UP, privileged=True))
        image = "registry.k8s.io/e2e-test-images/agnhost:2.47"
        number = await start(client, logs, sandbox, "a", image=image, args=["netexec", "--http-port=8123"])
        for path, answer in (
            ("hostname", "agn"),
            ("echo?msg=hi", "hi"),
            ("shell?cmd=echo%20x", '{"output": "x\\n"}'),
            ("dial?host=127.0.0.1&port=8081&protocol=udp&request=hostname", '{"responses": ["agn"]}'),
            ("dial?host=127.0.0.1&port=8123&request=hostname", '{"responses": ["agn"]}'),
        ):
            _, out, err = await client.exec_sync(
                number, ["curl", "-sS", "--retry-connrefused", "--retry", "3", f"localhost:8123/{path}"], 9
            )
            assert (out.decode(), err) == (answer, b"")

    runtime.run(script)


def test_signals_and_exit_codes(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox = await pod(client, "signals")
        sleeper = await start(client, logs, sandbox, "term", image="busybox", command=["sleep", "60"])
        await client.stop_container(sleeper, 10)
        assert (await client.container_status(sleeper)).exit_code == 143
        deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
        stubborn = await start(client, logs, sandbox, "kill", image="busybox", command=deaf)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await client.stop_container(stubborn, 0.3)
        assert 0.25 < time.monotonic() - began < 2
        assert (await client.container_status(stubborn)).exit_code == 137
        with pytest.raises(CriError, match="exited, not running"):
            await client.exec(stubborn, ["true"])

    runtime.run(script)


def test_what_cannot_start_says_so_in_runc_words(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox = await pod(client, "wrong")
        with pytest.raises(CriError, match='exec: "foo": executable file not found in \\$PATH'):
            await start(client, logs, sandbox, "c", image="busybox", command=["foo"])
        status = await client.container_status(f"{sandbox}-c-0")
        assert (status.exit_code, status.reason) == (128, "StartError")
        for image, reason in (("no/such", "ErrImagePull"), ("No Such", "InvalidImageName")):
            with pytest.raises(CriError) as refused:
                await start(client, logs, sandbox, "d", image=image)
            assert refused.value.reason == reason
            assert await client.image_status(image) is None

    runtime.run(script)


def test_exec_streams_terminal_and_timeout(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        number = await start(client, logs, await pod(client, "exec"), "c", image="busybox", command=["sleep", "60"])
        streams = await client.exec(number, ["sh", "-c", "cat; echo err >&2; exit 9"], stdin=True)
        assert streams.stdin is not None and streams.stderr is not None
        os.write(streams.stdin, b"ping")
        os.close(streams.stdin)
        got = [await asyncio.to_thread(os.read, fd, 99) for fd in (streams.stdout, streams.stderr, streams.status)]
        assert got == [b"ping", b"err\n", b"9"]

        terminal = await client.exec(number, ["sh", "-c", "read x; stty size; kill -9 $$"], tty=True, stdin=True)
        assert terminal.stdin is not None and terminal.stderr is None
        fcntl.ioctl(terminal.stdin, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        os.write(terminal.stdin, b"go\n")
        assert await asyncio.to_thread(os.read, terminal.status, 9) == b"137"
        assert b"24 80" in os.read(terminal.stdout, 999)

        with pytest.raises(TimeoutError):
            await client.exec_sync(number, ["sleep", "47"], 0.2)
        assert b"47" not in (await client.exec_sync(number, ["sh", "-c", "cat /proc/[3-9]*/cmdline"], 5))[1]
        with pytest.raises(CriError, match="executable file not found"):
            await client.exec(number, ["nosuch"])
        many = await asyncio.gather(*(client.exec_sync(number, ["sh", "-c", f"exit {n}"], 9) for n in range(40)))
        assert [code for code, _, _ in many] == list(range(40))

    runtime.run(script)


def test_events_listing_and_removal(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        seen: list[str] = []

        async def listen() -> None:
            async for status in client.events():
                if status.config.name == "watched":
                    seen.append(status.state)

        task = asyncio.create_task(listen())
        sandbox = await pod(client, "events")
        number = await start(client, logs, sandbox, "watched", image="busybox", command=["sleep", "60"])
        second = RuntimeClient()
        await second.connect()
        assert [c.id for c in await second.list_containers(sandbox)] == [number]
        pid = (await second.container_status(number)).pid
        assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
        await second.close()
        await asyncio.gather(*(client.remove_pod_sandbox(sandbox) for _ in range(2)))  # both are answered
        assert seen == ["created", "running", "exited"]
        assert not await client.list_containers(sandbox) and not Path(f"/proc/{pid}").exists()
        assert not Path(f"/run/minik8s/netns/{runtime.cluster}.default.events").exists()
        task.cancel()

    runtime.run(script)


def test_killed_it_leaves_nothing_on_the_host(tmp_path: Path) -> None:
    def host() -> tuple[str, list[str]]:
        """The machine's mounts, and the names that are this process's (other clusters come and go meanwhile)."""
        found = Path("/run/netns").iterdir() if Path("/run/netns").exists() else ()
        return Path("/proc/self/mounts").read_text(), sorted(p.name for p in found if f"rt{os.getpid()}." in p.name)

    before = host()
    doomed = Runtime(tmp_path)
    node = f"{doomed.cluster}.node-1"

    async def script(client: RuntimeClient, logs: Path) -> None:
        await client.ensure_netns(node)
        number = await start(client, logs, await pod(client, "web"), "c", image="nginx")
        (tmp_path / "pid").write_text(str((await client.container_status(number)).pid))

    try:
        doomed.run(script)
        container = Path("/proc", (tmp_path / "pid").read_text())
        assert container.exists() and host()[0] == before[0]
        if os.access("/run", os.W_OK):  # root of the machine; in a user namespace there are no names on the host
            assert str(Path(f"/run/netns/{node}").readlink()).startswith(f"/proc/{doomed.pid}/root")
    finally:
        doomed.kill()
        remove_names(doomed.state)
    assert not container.exists()
    assert host() == before


def test_of_an_endless_output_the_beginning_is_kept(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        number = await start(client, logs, await pod(client, "yes"), "c", image="busybox", command=["sleep", "60"])
        before = resource.getrusage(resource.RUSAGE_SELF)
        with pytest.raises(TimeoutError):
            await client.exec_sync(number, ["yes"], 2)
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert after.ru_maxrss - before.ru_maxrss < 50_000  # KiB
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
        much = "echo begins; head -c 50000000 /dev/zero; echo err >&2; exit 3"  # goes on to its end, though
        code, out, err = await client.exec_sync(number, ["sh", "-c", much], 10)
        assert (code, out, err) == (3, b"begins\n".ljust(10240, b"\0"), b"err\n")
        assert (await client.exec_sync(number, ["sh", "-c", "yes | head -c 99999"], 10, limit=7))[1] == b"y\ny\ny\ny"

    runtime.run(script)
