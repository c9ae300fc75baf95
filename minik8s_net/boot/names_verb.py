"""The verb "names": what is missing of the DNS add-on is made, and its answers are waited for.

`{"seconds": 10}` answers {"answered": true or false}. It is what `minik8s up` asks of a cluster that runs already.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .bootstrap import ensure_dns
from .live import Live
from .readiness import dns_answers

Json = dict[str, Any]


async def verb(live: Live, asked: Json) -> Json:
    """Makes nothing in a cluster that is not to heal."""
    config = live.config
    if config.heal:
        ensure_dns(live.client, config)
    try:
        async with asyncio.timeout(float(asked.get("seconds") or 10)):
            name = f"kubernetes.default.svc.{config.cluster_domain}"
            await dns_answers(live.nodes.netns(), str(config.dns_ip), name)
    except TimeoutError:
        return {"answered": False}
    return {"answered": True}
