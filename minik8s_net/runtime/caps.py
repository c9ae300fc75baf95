"""Linux capabilities: cut a container's process down to Docker's default set.

https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
"""

from __future__ import annotations

import ctypes

from .syscalls import PR_CAPBSET_DROP, _check, _libc, prctl

_NUMBERS = {
    name: number
    for number, name in enumerate(
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "LINUX_IMMUTABLE",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_ADMIN",
            "NET_RAW",
            "IPC_LOCK",
            "IPC_OWNER",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_CHROOT",
            "SYS_PTRACE",
            "SYS_PACCT",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "MKNOD",
            "LEASE",
            "AUDIT_WRITE",
            "AUDIT_CONTROL",
            "SETFCAP",
            "MAC_OVERRIDE",
            "MAC_ADMIN",
            "SYSLOG",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "AUDIT_READ",
            "PERFMON",
            "BPF",
            "CHECKPOINT_RESTORE",
        ]
    )
}
DEFAULT = frozenset(
    [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ]
)
_VERSION_3 = 0x20080522


def wanted(add: list[str], drop: list[str], privileged: bool) -> frozenset[str]:
    """The set after `securityContext.capabilities` (names with or without CAP_, or ALL)."""
    every = frozenset(_NUMBERS)
    if privileged:
        return every
    added, dropped = _names(add), _names(drop)
    base: frozenset[str] = frozenset() if "ALL" in dropped else DEFAULT - dropped
    return every - (dropped - {"ALL"} - added) if "ALL" in added else base | (added & every)


def _names(names: list[str]) -> frozenset[str]:
    return frozenset(name.upper().removeprefix("CAP_") for name in names)


def bound_to(names: frozenset[str]) -> set[int]:
    """Take every other capability out of the bounding set, for good; the numbers of those that are left."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    kept = owned(names)
    for number in range(last + 1):
        if number not in kept:
            prctl(PR_CAPBSET_DROP, number)
    return kept


def owned(names: frozenset[str]) -> set[int]:
    """The numbers of those that this process has."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, data), "capget")
    ours = data[1] | data[4] << 32  # even root may lack some: a container host may have kept them back
    return {_NUMBERS[name] for name in names if ours >> _NUMBERS[name] & 1}


def hold(kept: set[int]) -> None:
    """Have these permitted and in effect, nothing inheritable."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    low, high = (sum(1 << (n % 32) for n in kept if n // 32 == word) for word in (0, 1))
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")
