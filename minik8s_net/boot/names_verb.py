"""The verb "names": what is missing of the DNS add-on is made, and its answers are waited for.

`{"seconds": 3}` answers {"deaf": ["node-2"]}: the nodes from inside which it has not answered by then. It is what
`minik8s up` asks of a cluster that runs already.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..kernel.netns import Netns
from .bootstrap import ensure_dns
from .live import Live
from .readiness import dns_answers

Json = dict[str, Any]


async def verb(live: Live, asked: Json) -> Json:
    """Makes nothing in a cluster that is not to heal."""
    config, seconds = live.config, float(asked.get("seconds") or 3)
    if config.heal:
        ensure_dns(live.client, config)

    async def hears(netns: Netns) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await dns_answers([netns], str(config.dns_ip), f"kubernetes.default.svc.{config.cluster_domain}")
        except TimeoutError:
            return False
        return True

    nodes = {name: agents.netns for name, agents in live.nodes.each()}
    heard = await asyncio.gather(*map(hears, nodes.values()))
    return {"deaf": [name for name, answered in zip(nodes, heard, strict=True) if not answered]}
