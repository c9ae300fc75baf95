"""User and group ids in a user namespace that has only one: calls that would change them are answered with success.

An ordinary user's cluster maps his own id to root and no other. There `setuid`, `setgroups` and `chown` to any other
id fail (EINVAL), and with them what drops privileges or unpacks a tar file: tcpdump, stock servers, `kubectl cp`. A
seccomp filter lets these calls return 0 without doing anything (seccomp(2), SECCOMP_RET_ERRNO).
"""

from __future__ import annotations

import ctypes
import os
import struct

from .syscalls import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _RETURN_ZERO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: ld [k]; jeq k, jt, jf; ret k
_NR, _ARCH = 0, 4  # offsets in struct seccomp_data
# The machine's audit number; then setuid setgid setreuid setregid setgroups setresuid setresgid setfsuid setfsgid, and
# chown fchown lchown fchownat, as far as it has them.
_CALLS = {
    "x86_64": (0xC000003E, (105, 106, 113, 114, 116, 117, 119, 122, 123, 92, 93, 94, 260)),
    "aarch64": (0xC00000B7, (146, 144, 145, 143, 159, 147, 149, 151, 152, 55, 54)),
}


def is_single() -> bool:
    """Whether this process's user namespace has one id only (`/proc/self/uid_map`: inside, outside, count)."""
    with open("/proc/self/uid_map") as file:
        return [line.split()[2] for line in file] == ["1"]


def pretend() -> None:
    """From now on, for this process and its children. Needs CAP_SYS_ADMIN in the user namespace. Raises OSError."""
    known = _CALLS.get(os.uname().machine)
    if known is None:
        return
    code = _program(*known)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, fprog)


def _program(arch: int, calls: tuple[int, ...]) -> bytes:
    """struct sock_filter[]: of another architecture, or none of the calls: allowed; else 0 is returned."""

    def step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, k)

    count = len(calls)
    steps = [step(_LOAD, _ARCH), step(_JUMP_EQUAL, arch, 0, count + 1), step(_LOAD, _NR)]
    steps += [step(_JUMP_EQUAL, number, count - at) for at, number in enumerate(calls)]
    return b"".join([*steps, step(_RETURN, _ALLOW), step(_RETURN, _RETURN_ZERO)])
