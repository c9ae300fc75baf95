"""The kubeconfig: the cluster's own file, and the context `minik8s-NAME` in the user's, as kind does it.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
Writes are atomic (rename) and under kubectl's own lock convention (`FILE.lock`, created exclusively).
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ..config import ConfigError
from .pki import Pki, write_private

Json = dict[str, Any]
LOCK_PATIENCE, STALE_LOCK = 5.0, 60.0  # seconds
_LISTS = ("clusters", "users", "contexts")
_PREVIOUS = "minik8s.io/previous-context"  # in our context's extensions: what `down` gives back


def context_name(cluster: str) -> str:
    """The context `up` adds for a cluster: `minik8s-NAME`."""
    return f"minik8s-{cluster}"


def kubeconfig(cluster: str, port: int, pki: Pki, *, host: str = "127.0.0.1") -> Json:
    """A kubeconfig with one cluster, user and context, all named minik8s-NAME."""
    name = context_name(cluster)
    ca = base64.b64encode(pki.ca.read_bytes()).decode()
    server = {"server": f"https://{host}:{port}", "certificate-authority-data": ca}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": server}],
        "users": [{"name": name, "user": {"token": pki.admin_token.read_text().strip()}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }


def write_kubeconfig(path: Path, config: Json) -> None:
    """0600, atomically."""
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


def user_kubeconfig() -> Path:
    """The first file of $KUBECONFIG, else ~/.kube/config: where kubectl itself would write. Raises ConfigError."""
    listed = [entry for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    try:
        return Path(listed[0]) if listed else Path.home() / ".kube" / "config"
    except RuntimeError as error:  # neither $HOME nor an entry in /etc/passwd
        raise ConfigError(f"there is no home folder: {error}") from None


def add_context(cluster: str, own: Path, path: Path | None = None) -> None:
    """Put the cluster's `own` kubeconfig into the user's and make it current. Raises ConfigError, OSError.

    The file stays its owner's: `sudo -E minik8s up` writes to the file of whoever typed it.
    """
    path = (path or user_kubeconfig()).resolve()
    folders = _make_folders(path)
    name, added = context_name(cluster), _read(own)
    with _locked(path):
        config = _read(path) or {"apiVersion": "v1", "kind": "Config", "preferences": {}}
        previous = config.get("current-context", "")
        before = _record(config, name)
        if previous == name:
            previous = before.get("name", "")
        for field in _LISTS:
            config[field] = [e for e in config.get(field) or [] if e.get("name") != name] + added[field]
        record = {"name": previous, "folders": folders or before.get("folders", 0)}
        config["contexts"][-1]["context"]["extensions"] = [{"name": _PREVIOUS, "extension": record}]
        config["current-context"] = name
        _rewrite(path, config)


def remove_context(cluster: str, path: Path | None = None) -> bool:
    """Take it out again and give the former current context back. False if there was nothing to remove."""
    path = (path or user_kubeconfig()).resolve()
    name = context_name(cluster)
    if not path.exists():
        return False
    with _locked(path):
        config = _read(path)
        if not any(e.get("name") == name for field in _LISTS for e in config.get(field) or []):
            return False
        record = _record(config, name)
        previous, folders = record.get("name", ""), record.get("folders", 0)
        for field in _LISTS:
            config[field] = [e for e in config.get(field) or [] if e.get("name") != name]
        for other in config["contexts"]:  # a cluster started after us goes back to where we would have gone
            if (theirs := _record(config, other.get("name", ""))).get("name") == name:
                theirs["name"] = previous
            if theirs:
                theirs["folders"] = max(folders, theirs.get("folders", 0))
        if config.get("current-context") == name:
            known = {e.get("name") for e in config["contexts"]}
            config["current-context"] = previous if previous in known else ""
        if not any(config[field] for field in _LISTS) and set(config) <= {*_LISTS, *_EMPTY}:
            path.unlink()  # it held nothing but us, so it was ours
        else:
            _rewrite(path, config)
            folders = 0
    for folder in list(path.parents)[:folders]:  # those that `add_context` made, as far as nobody else uses them
        try:
            folder.rmdir()
        except OSError:
            break
    return True


def _make_folders(path: Path) -> int:
    """The folders above the file; how many had to be made. Root's are those of whoever owns the folder they are in."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError):
            _hand_over(folder)
    return len(missing)


def _hand_over(path: Path) -> None:
    around = path.parent.stat()
    if os.geteuid() == 0 != around.st_uid:
        os.chown(path, around.st_uid, around.st_gid, follow_symlinks=False)


def _rewrite(path: Path, config: Json) -> None:
    """The user's own file, with the owner and the mode that it had; a new one is 0600."""
    there = path.stat() if path.exists() else None
    try:
        write_private(path, yaml.safe_dump(config, sort_keys=False).encode(), there)
    except PermissionError:
        if there is None or there.st_uid == os.geteuid():
            raise
        raise ConfigError(f"{path} belongs to user {there.st_uid}, and would become ours") from None
    if there is None:
        with contextlib.suppress(OSError):
            _hand_over(path)


_EMPTY = ("apiVersion", "kind", "preferences", "current-context")


def _record(config: Json, name: str) -> Json:
    """What we noted in our context `name`, to be changed in place; {} if it is none of ours.

    `name` is the context that was current before, `folders` how many folders above the file we made.
    """
    for context in config.get("contexts") or []:
        for extension in (context.get("context") or {}).get("extensions") or []:
            if context.get("name") == name and extension.get("name") == _PREVIOUS:
                found: Json = extension["extension"]
                return found
    return {}


def _read(path: Path) -> Json:
    try:
        config = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{path}: not a kubeconfig: {where}{problem}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: not a kubeconfig: expected a map, found {type(config).__name__}")
    return config


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """kubectl's lock: whoever creates FILE.lock holds it. One older than a minute was left by a crash."""
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            if _age(lock) > STALE_LOCK:
                lock.unlink(missing_ok=True)
            elif time.monotonic() > deadline:
                raise ConfigError(f"{lock}: held by another program; remove it if none is running") from None
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _age(lock: Path) -> float:
    try:
        return time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return 0.0
