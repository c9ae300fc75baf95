"""What pods leave behind where no kubelet goes on with them: sandboxes, leases, processes, folders."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..runtime.client import RuntimeClient
from ..runtime.cri import Sandbox
from .host import PodNetwork


async def remove_sandbox(runtime: RuntimeClient, network: PodNetwork, sandbox: Sandbox) -> None:
    """The address given back, processes killed, namespaces let go. Returns once the last process has ended."""
    if sandbox.config.netns is None:
        await network.delete(sandbox.netns, sandbox.id)
    await runtime.stop_pod_sandbox(sandbox.id)
    await runtime.remove_pod_sandbox(sandbox.id)


async def remove_pods(runtime: RuntimeClient, network: PodNetwork, node: str, pods_root: Path) -> None:
    """Everything of the pods of a node that is no more, as with a machine that is switched off: without grace."""
    theirs = [sandbox for sandbox in await runtime.list_pod_sandboxes() if sandbox.config.node == node]
    removing = (remove_sandbox(runtime, network, sandbox) for sandbox in theirs)
    ends = await asyncio.gather(*removing, return_exceptions=True)
    for sandbox, error in zip(theirs, ends, strict=True):
        if error is None:
            shutil.rmtree(pods_root / sandbox.config.uid, ignore_errors=True)
    if errors := [error for error in ends if error is not None]:
        raise errors[0]


def remove_folders(pods_root: Path, keep: Iterable[str]) -> None:
    """The folders of pods that are in nobody's books any more; `keep`: the uids that are."""
    if pods_root.is_dir():
        for folder in {path.name for path in pods_root.iterdir()} - set(keep):
            shutil.rmtree(pods_root / folder, ignore_errors=True)
