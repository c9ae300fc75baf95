"""Where a cluster keeps what must survive: one folder per cluster, 0700, removed by `down`.

NAME/cluster.json      the configuration it was made with
NAME/owned.json        the processes that we own, and owned.copy.json: see boot/record.py
NAME/netns-names.json  whose names in /run/netns are ours: see runtime/names.py
NAME/lifecycle.lock    held by `up` and `down`, and says by whom: see boot/folder.py
NAME/store.db          the objects (SQLite)
NAME/pki/              our CA and the API server's certificate
NAME/kubeconfig        0600; published: the paths of the user's own that got our context
NAME/ipam/NODE/ADDR    one file per leased pod address
NAME/faults.json       what is broken on purpose now; paused.json: what is not to be healed
NAME/snapshots/        NAME.json: objects and faults of a moment
NAME/pods/UID/         a pod's volumes and logs (logs/CONTAINER/ATTEMPT.log)
NAME/log/              controller.log, runtime.log, supervisor.log
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .config import check_name


def home() -> Path:
    """`$MINIK8S_HOME`, else the XDG state folder, else (no writable home) a private folder in /tmp; absolute.

    Raises PermissionError if somebody else made the one in /tmp, where everybody may.
    """
    if explicit := os.environ.get("MINIK8S_HOME"):
        return Path(explicit).absolute()
    if xdg := os.environ.get("XDG_STATE_HOME"):
        return Path(xdg).absolute() / "minik8s"
    user_home = Path(os.environ.get("HOME") or "/nonexistent").absolute()
    if user_home != Path("/") and os.access(user_home, os.W_OK) and user_home.stat().st_uid == os.getuid():
        return user_home / ".local" / "state" / "minik8s"
    return _private(Path(f"/tmp/minik8s-{os.getuid()}"))


def _private(folder: Path) -> Path:
    """Whoever else may write there could plant a record and have us end our own processes, or a kubeconfig."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return folder
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    raise PermissionError(
        f"{folder} is not a folder that only you may write to (owner: uid {found.st_uid}, "
        f"mode {stat.filemode(found.st_mode)}): what is in it is not trusted.\n"
        "Remove it, or set MINIK8S_HOME to a folder of your own."
    )


def typed(command: str, cluster: str) -> str:
    """What to type for this cluster: `minik8s up`, or `minik8s up --cluster NAME` where NAME is not the default."""
    default = os.environ.get("MINIK8S_CLUSTER", "minik8s")
    return f"minik8s {command}" + ("" if cluster == default else f" --cluster {cluster}")


@dataclass(frozen=True)
class State:
    """The state folder of one cluster. Only names paths; creating them is the owner's business."""

    root: Path

    @classmethod
    def of(cls, cluster: str) -> State:
        """The folder of the cluster of that name, whether it exists or not. Raises ConfigError for what is no name."""
        check_name(cluster)
        return cls(home() / cluster)

    @property
    def config(self) -> Path:
        """The configuration it was made with (JSON)."""
        return self.root / "cluster.json"

    @property
    def owned(self) -> Path:
        """What is ours outside the folder (JSON)."""
        return self.root / "owned.json"

    @property
    def database(self) -> Path:
        """The objects (SQLite)."""
        return self.root / "store.db"

    @property
    def pki(self) -> Path:
        """Our CA, the API server's certificate and keys."""
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, 0600."""
        return self.root / "kubeconfig"

    @property
    def ipam(self) -> Path:
        """Leases of pod addresses, a file each."""
        return self.root / "ipam"

    @property
    def pods(self) -> Path:
        """Volumes and logs of pods, a folder each."""
        return self.root / "pods"

    @property
    def logs(self) -> Path:
        """The logs of our own processes."""
        return self.root / "log"
