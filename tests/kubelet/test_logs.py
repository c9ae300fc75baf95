"""Logs as the runtime writes them and the kubelet reads them: rotation, long lines, what is left of a broken one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from minik8s_net.apiserver.kubelets import LogOptions
from minik8s_net.kubelet import logs
from minik8s_net.runtime.log import MAX_FILE, MAX_LINE, LogFile

pytestmark = pytest.mark.netns  # the runtime opens its logs below a clone of the folder, which takes CAP_SYS_ADMIN
STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "


async def told(path: Path, **options: object) -> bytes:
    return b"".join([chunk async for chunk in logs.read(path, LogOptions(**options), lambda: False)])  # type: ignore[arg-type]


def test_following_goes_on_where_the_file_is_replaced(tmp_path: Path) -> None:
    """Also where it was replaced twice since the last look."""
    path = tmp_path / "0.log"
    lines = [b"%06d %s\n" % (number, b"x" * 1000) for number in range(4 * MAX_FILE // 1000)]

    async def script() -> None:
        file, running, seen = LogFile(str(path)), True, bytearray()

        async def follow() -> None:
            async for chunk in logs.read(path, LogOptions(follow=True), lambda: running):
                seen.extend(chunk)

        following = asyncio.create_task(follow())
        for number, line in enumerate(lines):
            file.write("stdout", line)
            if number % 1000 == 0 and not 15_000 < number < 36_000:  # in between it writes faster than we read
                while len(seen) < (number + 1) * len(line):
                    await asyncio.sleep(0)
        await asyncio.sleep(3 * logs.POLL)
        file.write("stdout", b"last\n")
        await asyncio.sleep(3 * logs.POLL)
        assert bytes(seen[-5:]) == b"last\n"
        running = False
        await asyncio.wait_for(following, 5)
        assert bytes(seen) == b"".join(lines) + b"last\n"

    asyncio.run(script())
    assert (tmp_path / "0.log.1").exists()


def test_what_is_not_followed_is_the_newest_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    (tmp_path / "0.log.1").write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F old\n")
    LogFile(str(path)).write("stdout", b"a\nb\n\nc\n")
    assert asyncio.run(told(path)) == b"a\nb\n\nc\n"
    for number, text in enumerate((b"", b"c\n", b"\nc\n", b"b\n\nc\n", b"a\nb\n\nc\n", b"a\nb\n\nc\n")):
        assert asyncio.run(told(path, tail_lines=number)) == text
    assert asyncio.run(told(tmp_path / "none")) == b""


def test_a_line_in_pieces_has_one_timestamp(tmp_path: Path) -> None:
    path, long = tmp_path / "0.log", b"y" * (2 * MAX_LINE + 7)
    file = LogFile(str(path))
    file.write("stdout", b"a\r\n" + long + b"\nb\n")
    file.write("stderr", long)
    file.finish()
    assert b" P " in path.read_bytes()
    shown = asyncio.run(told(path, timestamps=True))
    assert re.sub(STAMP, b"@", shown) == b"@a\r\n@" + long + b"\n@b\n@" + long + b"\n"
    assert asyncio.run(told(path, limit_bytes=4)) == b"a\r\ny"


def test_a_line_cut_off_by_a_full_disk_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"2026-01-01T00:00\n2026-01-01T00:00:00.000000000Z stdout F good\n")
    shown = asyncio.run(told(path, timestamps=True, since_time="2020-01-01T00:00:00Z"))
    assert shown == b"2026-01-01T00:00:00.000000000Z good\n"
