"""net.* sysctls of the calling thread's network namespace (Documentation/networking/ip-sysctl.rst).

Names are written as in /proc/sys with slashes or dots: `net.ipv4.ip_forward`, `net/ipv4/conf/vxlan.1/rp_filter`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def _path(name: str) -> str:
    return "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))


def get(name: str) -> str | None:
    """The value, or None where this kernel has no such setting (the module that brings it is not loaded)."""
    try:
        fd = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def put(name: str, value: str | int) -> None:
    """Raises FileNotFoundError, PermissionError."""
    fd = os.open(_path(name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def ensure(wanted: Mapping[str, str | int], *, optional: bool = False) -> list[str]:
    """Set what differs; what was changed, as `name: old -> new`. `optional`: pass over what this kernel lacks."""
    changed = []
    for name, value in wanted.items():
        now = get(name)
        if now == str(value) or (now is None and optional):
            continue
        put(name, value)
        changed.append(f"{name}: {now} -> {value}")
    return changed
