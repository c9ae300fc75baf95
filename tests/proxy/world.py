"""Two nodes' proxiers in real namespaces, told of objects by hand; both modes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from minik8s_net.config import ClusterConfig
from minik8s_net.proxy.proxier import Proxier

from .objects import Objects
from .wiring import Fabric


class World:
    def __init__(self, fabric: Fabric, mode: str) -> None:
        self.fabric, self.mode, self.objects = fabric, mode, Objects()
        self.proxiers = [
            Proxier(ClusterConfig(), name, f"172.18.1.{i}", self.objects, netns, mode)  # type: ignore[arg-type]
            for i, (name, netns) in enumerate(fabric.nodes.items(), 1)
        ]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        tasks = [asyncio.create_task(p.run()) for p in self.proxiers]
        try:
            for proxier in self.proxiers:
                await asyncio.wait_for(proxier.synced(), 10)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for proxier in self.proxiers:
                await proxier.remove()

    async def put(self, *objects: Any) -> None:
        self.objects.put(*objects)
        await self.settle()

    async def settle(self) -> None:
        for proxier in self.proxiers:
            await asyncio.wait_for(proxier.settle(), 10)


def run(world: World, test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with world.running():
            await test(world)

    asyncio.run(main())


def ruleset(world: World, node: str) -> str:
    command = ["iptables-save"] if world.mode == "iptables" else ["nft", "list", "ruleset"]
    done = world.fabric.nodes[node].call(subprocess.run, command, capture_output=True, text=True, check=True)
    return done.stdout
