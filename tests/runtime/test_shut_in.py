"""What a container puts in root's way: links and pipes that must lead nobody to the machine, and hold nobody up."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import struct
from pathlib import Path

import pytest

from minik8s_net.runtime import daemon, ids, rootfs, syscalls
from minik8s_net.runtime.client import RuntimeClient
from minik8s_net.runtime.cri import CriError, Mount
from minik8s_net.state import State

from .conftest import Runtime
from .test_runtime import ended, pod, start

pytestmark = pytest.mark.netns
SLEEP = ["sleep", "60"]
REFUSED = r"Too many levels of symbolic links|No such file|not permitted|Not a directory"


async def sh(client: RuntimeClient, number: str, text: str) -> tuple[int, str]:
    code, out, err = await client.exec_sync(number, ["sh", "-c", text], 5)
    return code, (out + err).decode()


async def plant(client: RuntimeClient, logs: Path, sandbox: str, text: str, *mounts: Mount) -> None:
    """Let an init container prepare its volumes."""
    command = ["sh", "-c", text]
    number = await start(client, logs, sandbox, "plant", image="busybox", command=command, mounts=list(mounts))
    assert (await ended(client, number)).exit_code == 0


def folders(*paths: Path) -> None:
    for path in paths:
        path.mkdir(parents=True)


def test_a_mount_target_does_not_follow_links_to_the_host(runtime: Runtime, tmp_path: Path) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, volumes = await pod(client, "target"), logs / "target-volumes"
        folders(volumes / "data", volumes / "other")
        data = Mount("/data", str(volumes / "data"))
        await plant(client, logs, sandbox, f"ln -s {tmp_path} /data/x; ln -s ../../../../.. /data/up", data)
        other = str(volumes / "other")
        with pytest.raises(CriError, match="/data/x/evil/dir: Not a directory"):
            await start(
                client, logs, sandbox, "lost", image="busybox", command=SLEEP,
                mounts=[data, Mount("/data/x/evil/dir", other)],
            )  # fmt: skip
        # a link leads where it leads in the container
        mounts = [data, Mount(f"/data/up{tmp_path}/evil", other), Mount("/data/real/deep", other)]
        number = await start(client, logs, sandbox, "c", image="busybox", command=SLEEP, mounts=mounts)
        text = f"cd {tmp_path} && echo mine > evil/file && cat /data/real/deep/file"
        assert await sh(client, number, text) == (0, "mine\n")
        await client.stop_container(number, 0)

    runtime.run(script)
    assert not list(tmp_path.iterdir())


def test_volumes_mounted_into_each_other_lead_nowhere_else(runtime: Runtime, tmp_path: Path) -> None:
    """Links would put b over c on the host's side, before c's subPath is looked up in it."""
    (tmp_path / "secret").write_text("the host's")

    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, volumes = await pod(client, "chain"), logs / "chain-volumes"
        folders(*(volumes / name for name in "abc"))
        a, b, c = (Mount(f"/{name}", str(volumes / name)) for name in "abc")
        text = f"ln -s {volumes}/c /a/x; ln -s {tmp_path} /b/sub; mkdir /c/sub; echo c > /c/sub/secret"
        await plant(client, logs, sandbox, text, a, b, c)
        mounts = [Mount("/data", a.host_path), Mount("/data/x", b.host_path)]
        mounts += [Mount("/loot", f"{volumes}/c", sub_path="sub")]
        with pytest.raises(CriError, match="/data/x: Not a directory"):
            await start(client, logs, sandbox, "lost", image="busybox", command=SLEEP, mounts=mounts)
        # with a way to c there is in the container too, b is over that, and c is still c
        there = Mount(f"{volumes}/c", c.host_path)
        number = await start(client, logs, sandbox, "c", image="busybox", command=SLEEP, mounts=[there, *mounts])
        text = f"cat /loot/secret; echo written > /loot/secret; readlink {volumes}/c/sub"
        assert await sh(client, number, text) == (0, f"c\n{tmp_path}\n")
        assert (volumes / "c" / "sub" / "secret").read_text() == "written\n"
        over = [Mount("/.", f"{volumes}/c")]
        with pytest.raises(CriError, match="cannot be the container's root"):
            await start(client, logs, sandbox, "root", image="busybox", command=SLEEP, mounts=over)
        await client.stop_container(number, 0)

    runtime.run(script)
    assert (tmp_path / "secret").read_text() == "the host's"


def test_a_sub_path_stays_in_its_volume_until_it_is_mounted(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the host's")

    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, volume = await pod(client, "sub"), logs / "sub-volume"
        folders(volume / "real")
        (volume / "real" / "secret").write_text("the volume's")
        links = {"abs": str(tmp_path), "up": "../" * 9 + str(tmp_path)[1:], "proc": "/proc/self/cwd", "good": "real"}
        for name, target in links.items():
            (volume / name).symlink_to(target)
        for name in links:
            mounts = [Mount("/loot", str(volume), sub_path=name)]
            starting = start(client, logs, sandbox, name, image="busybox", command=SLEEP, mounts=mounts)
            if name == "good":  # a link within the volume is followed
                assert await sh(client, await starting, "cat /loot/secret") == (0, "the volume's")
            else:
                with pytest.raises(CriError, match="Invalid cross-device link"):
                    await starting

    runtime.run(script)


def test_a_working_folder_is_entered_within_the_container(runtime: Runtime, tmp_path: Path) -> None:
    """Not by a descriptor of root's that leads out of it (CVE-2024-21626), nor by a link to one."""

    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, volume = await pod(client, "cwd"), logs / "cwd-volume"
        folders(volume)
        (volume / "link").symlink_to("/proc/self/fd")
        for number in range(3, 16):
            for folder in (f"/proc/self/fd/{number}/made", f"/v/link/{number}/1/root{tmp_path}/made"):
                with pytest.raises(CriError, match=REFUSED):
                    await start(
                        client, logs, sandbox, f"c-{number}-{len(folder)}", image="busybox", command=SLEEP,
                        working_dir=folder, mounts=[Mount("/v", str(volume))], read_only_root=number % 2 == 0,
                    )  # fmt: skip

    runtime.run(script)
    assert not list(tmp_path.iterdir())


def test_a_termination_message_is_a_plain_file(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, volume = await pod(client, "message"), logs / "message-volume"
        folders(volume)
        (volume / "host").symlink_to("/proc/self/fd")
        tricks = {
            "pipe": "mkfifo /dev/termination-log",
            "link": "ln -s /etc/passwd /dev/termination-log",
            "folder": "mkdir /dev/termination-log",
            "long": "yes begin | head -c 9000 > /dev/termination-log; printf end >> /dev/termination-log",
        }
        for name, trick in tricks.items():
            text = f"rm -f /dev/termination-log; {trick}; exit 3"
            number = await start(client, logs, sandbox, name, image="busybox", command=["sh", "-c", text])
            status = await asyncio.wait_for(ended(client, number), 5)
            assert status.exit_code == 3
            if name == "long":  # its end, as Kubernetes reads it
                assert len(status.message) == 4096 and status.message.endswith("begin\nend")
            else:
                assert status.message == ""
        # the next container finds the volume as the one before left it
        mounts = [Mount("/v", str(volume))]
        await plant(client, logs, sandbox, "mkfifo /v/pipe; ln -s /etc/hostname /v/link", *mounts)
        for name in ("pipe", "link", *(f"host/{n}" for n in range(3, 12))):
            number = f"{sandbox}-again-{name.replace('/', '')}-0"
            starting = start(
                client, logs, sandbox, f"again-{name.replace('/', '')}", image="busybox", command=["false"],
                mounts=mounts, termination_message_path=f"/v/{name}", read_only_root=name == "pipe",
            )  # fmt: skip
            await asyncio.wait_for(starting, 5)
            status = await asyncio.wait_for(ended(client, number), 5)
            assert (status.exit_code, status.message) == (1, "")

    runtime.run(script)


def test_a_container_ends_though_others_write_on(runtime: Runtime) -> None:
    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox = await pod(client, "writes-on")
        for tty in (False, True):
            command = ["sh", "-c", "for i in 1 2 3; do yes & done; sleep 0.1; exit 3"]
            number = await start(client, logs, sandbox, f"c-{tty}", image="busybox", command=command, tty=tty)
            assert (await asyncio.wait_for(ended(client, number), 5)).exit_code == 3

    runtime.run(script)


def test_a_dev_that_is_a_volume_gives_no_false_devices(runtime: Runtime) -> None:
    """Standard input was once opened in there, and a terminal's two ends."""

    async def script(client: RuntimeClient, logs: Path) -> None:
        sandbox, volume = await pod(client, "dev"), logs / "dev-volume"
        folders(volume)
        devices = [Mount("/dev", str(volume))]
        more = {"image": "busybox", "mounts": devices, "termination_message_path": "/tmp/m"}
        await plant(client, logs, sandbox, "cd /v; mkfifo null; mkdir pts; mkfifo pts/ptmx", Mount("/v", str(volume)))
        number = await asyncio.wait_for(start(client, logs, sandbox, "c", command=["sleep", "60"], **more), 5)
        assert (await sh(client, number, "readlink /proc/self/fd/0; cat"))[0] == 0
        with pytest.raises(CriError, match="no terminal multiplexer"):
            await start(client, logs, sandbox, "tty", command=SLEEP, tty=True, **more)
        with pytest.raises(CriError, match="no terminal multiplexer"):
            await client.exec(number, ["true"], tty=True)
        await client.stop_container(number, 0)

        plain = await start(client, logs, sandbox, "plain", image="busybox", command=SLEEP, user=0)
        assert (await sh(client, plain, "rm /dev/ptmx; mkfifo /dev/ptmx; rm /etc/passwd; mkfifo /etc/passwd"))[0] == 0
        terminal = await asyncio.wait_for(client.exec(plain, ["tty"], tty=True), 5)
        assert await asyncio.to_thread(os.read, terminal.stdout, 99) == b"/dev/pts/0\r\n"
        await client.stop_container(plain, 0)

    runtime.run(script)


def test_a_user_is_looked_up_in_a_plain_file(runtime: Runtime) -> None:
    """root reads the container's /etc/passwd: a pipe there once held up every exec."""

    async def script(client: RuntimeClient, logs: Path) -> None:
        more = {"image": "busybox", "command": SLEEP, "groups": [0]}
        number = await start(client, logs, await pod(client, "passwd"), "c", **more)
        assert (await sh(client, number, "rm /etc/passwd; mkfifo /etc/passwd"))[0] == 0
        assert await asyncio.wait_for(sh(client, number, "echo here"), 5) == (0, "here\n")

    runtime.run(script)


def test_the_template_replaces_links_it_would_write_through(tmp_path: Path) -> None:
    """/etc/nsswitch.conf is a link on some machines, and so is its copy: to the machine's own file."""
    (tmp_path / "hosts-own").write_text("hosts: mymachines\n")
    copy = tmp_path / "nsswitch.conf"
    copy.symlink_to(tmp_path / "hosts-own")
    rootfs._only_files_and_dns(str(copy))
    assert (tmp_path / "hosts-own").read_text() == "hosts: mymachines\n"
    assert not copy.is_symlink() and copy.read_text().endswith("hosts: files dns\n")


def test_a_kernel_that_would_follow_links_to_the_host_is_refused(tmp_path: Path) -> None:
    """One without openat2(2): here a filter says so in its name."""
    state = State(tmp_path / "old")
    state.root.mkdir()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            arch, _ = ids._CALLS[os.uname().machine]
            program = ids._program(arch, (syscalls._SYS_OPENAT2,))[:-8]
            program += struct.pack("HBBI", ids._RETURN, 0, 0, ids._RETURN_ZERO | errno.ENOSYS)
            buffer = ctypes.create_string_buffer(program, len(program))
            fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
            syscalls.prctl(ids._PR_SET_SECCOMP, ids._MODE_FILTER, fprog)
            os.kill(daemon.start(state, "old"), signal.SIGKILL)
        except daemon.StartError as error:
            code = 0 if "no openat2(2)" in str(error) and "needs Linux 5.12 or later" in str(error) else 2
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
