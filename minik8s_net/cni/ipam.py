"""Address leases: one file per address in `ipam/NODE/`, holding its owner's key, so that `ls` is the debugger.

Like CNI's host-local plugin. A lease appears whole and exclusively (a finished file is linked to its name), so a crash
leaves either a lease or none, and processes may allocate side by side. Addresses go round: the search starts after
the last one given out, so that a re-created pod gets another address.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from .errors import CniError

_LAST = "last_reserved"
_serial = itertools.count()


class Ipam:
    """The leases of one node's pod CIDR. .0 is the tunnel end, .1 the gateway, the last one broadcast: 253 pods."""

    def __init__(self, folder: Path, cidr: IPv4Network) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._cidr = folder, cidr
        self._known: dict[str, IPv4Address] = {}  # a hint; the files decide

    def reserve(self, key: str) -> IPv4Address:
        """The address of `key`: the one it has, else the next free one. Raises CniError: all are taken, no space."""
        return self.find(key) or self.reserve_next(key)

    def reserve_next(self, key: str) -> IPv4Address:
        """The next free address, for a key that has none. Raises CniError as `reserve`."""
        with self._draft(key) as draft:
            for address in self._candidates():
                try:
                    os.link(draft, self._folder / str(address))
                except FileExistsError:
                    continue
                self._known[key] = address
                self._remember(address)
                return address
        raise CniError(f"no address left in {self._cidr}: {len(self.leases())} are leased")

    def claim(self, key: str, address: IPv4Address) -> None:
        """Give `key` this very address (and no other), whoever had it: a pod that comes back from a snapshot."""
        with self._draft(key) as draft:
            draft.replace(self._folder / str(address))
        for other, owner in self.leases().items():
            if owner == key and other != address:
                (self._folder / str(other)).unlink(missing_ok=True)
        self._known[key] = address

    def release(self, key: str) -> IPv4Address | None:
        """Give an address back; None if `key` holds none. Idempotent."""
        if (address := self.find(key)) is not None:
            (self._folder / str(address)).unlink(missing_ok=True)
        self._known.pop(key, None)
        return address

    def find(self, key: str) -> IPv4Address | None:
        """The address leased to a pod, None if there is none."""
        hint = self._known.get(key)
        if hint is not None and self._owner(hint) == key:
            return hint
        found = next((address for address, owner in self.leases().items() if owner == key), None)
        if found is not None:
            self._known[key] = found
        return found

    def leases(self) -> dict[IPv4Address, str]:
        """Every leased address and its owner."""
        found = {}
        for name in (path.name for path in self._folder.iterdir()):
            if name[0] != "." and name != _LAST and (owner := self._owner(address := IPv4Address(name))) is not None:
                found[address] = owner
        return found

    def adopt(self, keys: set[str]) -> list[IPv4Address]:
        """After a crash: release what belongs to none of `keys`; the addresses set free."""
        return [address for key in set(self.leases().values()) - keys if (address := self.release(key))]

    def _owner(self, address: IPv4Address) -> str | None:
        try:
            return (self._folder / str(address)).read_text()
        except FileNotFoundError:
            return None

    def _candidates(self) -> Iterator[IPv4Address]:
        first, count = int(self._cidr.network_address) + 2, self._cidr.num_addresses - 3
        try:
            start = int(IPv4Address((self._folder / _LAST).read_text())) - first + 1
        except (FileNotFoundError, ValueError):
            start = 0
        return (IPv4Address(first + (start + step) % count) for step in range(count))

    def _remember(self, address: IPv4Address) -> None:
        with contextlib.suppress(CniError), self._draft(str(address)) as draft:  # a hint, where there is space for it
            draft.replace(self._folder / _LAST)

    @contextmanager
    def _draft(self, text: str) -> Iterator[Path]:
        """A finished file without its name. What is still there of it afterwards goes. Raises CniError: a full disk."""
        draft = self._folder / f".{os.getpid()}-{next(_serial)}"
        try:
            draft.write_text(text)
            yield draft
        except OSError as error:
            raise CniError(f"no address can be leased: {self._folder}: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
