"""The vocabulary of the container runtime: CRI's messages, as far as they are needed.

https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto
All are plain data and travel as JSON over the runtime's Unix socket. Times are seconds since the epoch (float).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

SOCKET = "/run/minik8s/runtime.sock"  # in the cluster's own mount namespace


@dataclass
class SandboxConfig:
    """A pod's sandbox. `netns` names an existing namespace to share (hostNetwork); None makes a new one."""

    namespace: str
    name: str
    uid: str
    attempt: int
    hostname: str
    netns: str | None = None
    resolv_conf: str = ""
    hosts: str = ""
    node: str = ""


@dataclass
class Sandbox:
    """`netns` is the name under NETNS_DIR (`Netns(netns)` joins it). id is `UID-ATTEMPT`."""

    id: str
    config: SandboxConfig
    netns: str
    created_at: float
    ready: bool = True


@dataclass
class Mount:
    """A bind mount into the container. `host_path` is a path in the cluster's mount namespace (state folder, tmpfs),
    `sub_path` one within what is there, which containers may have changed: whoever mounts it resolves it."""

    container_path: str
    host_path: str
    read_only: bool = False
    sub_path: str = ""


@dataclass
class ContainerConfig:
    """`command`/`args` as in a container spec (already expanded); empty means what the image starts by itself."""

    name: str
    attempt: int
    image: str
    log_path: str
    command: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    mounts: list[Mount] = field(default_factory=list)
    tty: bool = False
    stdin: bool = False
    privileged: bool = False
    add_capabilities: list[str] = field(default_factory=list)
    drop_capabilities: list[str] = field(default_factory=list)
    termination_message_path: str = "/dev/termination-log"
    user: int | None = None  # None: root, as every image here says
    group: int | None = None  # None: the user's by the container's /etc/passwd, else 0
    groups: list[int] = field(default_factory=list)
    read_only_root: bool = False


ContainerState = Literal["created", "running", "exited"]


@dataclass
class ContainerStatus:
    """id is `SANDBOX-NAME-ATTEMPT`. `pid` is the host's id of the container's main process (0 unless running)."""

    id: str
    sandbox_id: str
    config: ContainerConfig
    state: ContainerState
    pid: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""  # Completed, Error, OOMKilled, ContainerCannotRun, StartError
    message: str = ""  # e.g. exec: "foo": executable file not found in $PATH, or the termination message


@dataclass
class ImageInfo:
    """What the catalogue knows of an image: kind "server" (runs by itself) or "tool" (needs a command)."""

    name: str
    kind: Literal["server", "tool"]
    description: str


class CriError(Exception):
    """The runtime refused. `reason`: NotFound, ErrImagePull, InvalidImageName, AlreadyExists, ContainerCannotRun,
    Unavailable (not running, or the runtime is gone), Internal."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass
class ExecStreams:
    """An exec'd process, as descriptors owned by the caller (each to be closed by him).

    With a tty, `stdin` and `stdout` are (duplicates of) the terminal's master and `stderr` is None. `status` is a pipe
    that yields the exit code as decimal text and EOF once the process has ended (128+N after signal N).
    """

    pid: int
    stdin: int | None
    stdout: int
    stderr: int | None
    status: int
