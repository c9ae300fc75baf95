"""In a user namespace with one id, programs that change ids go on as if they had."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os, sys, tempfile
from minik8s_net.runtime import ids
assert ids.is_single()
if sys.argv[1] == "pretend":
    ids.pretend()
with tempfile.NamedTemporaryFile() as file:
    for change in (
        lambda: os.chown(file.name, 1234, 1234), lambda: os.fchown(file.fileno(), 1234, 1234),
        lambda: os.lchown(file.name, 1234, 1234), lambda: os.setgroups([1234]), lambda: os.setgid(1234),
        lambda: os.setresgid(1, 2, 3), lambda: os.setregid(1, 2), lambda: os.setuid(1234),
        lambda: os.setresuid(1, 2, 3), lambda: os.setreuid(1, 2),
    ):
        try:
            change()
            print("done")
        except OSError as error:
            print(error.strerror)
    print(os.getuid(), os.stat(file.name).st_uid)
"""


def told(how: str) -> list[str]:
    argv = ["unshare", "--map-root-user", "--user", sys.executable, "-c", CODE, how]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def test_changes_of_ids_succeed_and_do_nothing() -> None:
    assert set(told("not")[:10]) <= {"Invalid argument", "Operation not permitted"}
    assert told("pretend") == ["done"] * 10 + ["0 0"]


def test_a_machine_with_many_ids_is_told_apart() -> None:
    code = "from minik8s_net.runtime import ids; print(ids.is_single())"
    ours = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    with open("/proc/self/uid_map") as file:
        assert ours.stdout.strip() == str(file.read().split()[2] == "1")
