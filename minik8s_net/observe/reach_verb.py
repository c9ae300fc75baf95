"""The verb "reach": every pair of pods (or pod and Service) probed in parallel, beside what the policies say.

{"port": 80, "protocol": "tcp", "namespace": "default" or null for all, "services": false} answers {port, protocol,
seconds, cells: [{source, target, measured, expected}]}; a name is "namespace/pod" or "namespace/service".
"""

from __future__ import annotations

import asyncio

from lightkube.resources.core_v1 import Pod, Service

from ..api.errors import StatusError, bad_request
from ..boot.live import Live
from ..policy.evaluate import Endpoint, evaluate
from ..policy.model import PodFacts
from .reach import Json, Place, reach
from .trace.places import Places

MOST = 10_000  # pairs; where policies drop, a second for each 400 of them


async def verb(live: Live, asked: Json) -> Json:
    """Raises StatusError: 400 for a port or protocol that is none, 404 where there is no pod."""
    port = 80 if asked.get("port") is None else asked["port"]
    protocol = str(asked.get("protocol") or "tcp").upper()
    if not isinstance(port, int) or not 0 < port < 65536 or protocol not in ("TCP", "UDP"):
        raise bad_request(f"port: {port!r}/{protocol} is not a port from 1 to 65535 of tcp or udp")
    namespace = asked.get("namespace")
    chosen = {f"{ns}/{name}": facts for (ns, name), facts in live.policies.pods.items() if namespace in (None, ns)}
    places = Places(live)
    try:
        opened = {name: places.of(live.client.get(Pod, f.name, f.namespace)) for name, f in sorted(chosen.items())}
        sources = [Place(name, chosen[name].ip, place.fd) for name, place in opened.items() if place]
        if not sources:
            raise StatusError(
                404, "NotFound", f"no pod runs in {namespace or 'this cluster'}; see: minik8s get pods -A"
            )
        targets = _services(live, namespace) if asked.get("services") else [Place(s.name, s.ip) for s in sources]
        if len(sources) * len(targets) > MOST:
            raise bad_request(f"{len(sources)} x {len(targets)} pairs are too many at once; choose a namespace")
        expected = None if asked.get("services") else _expected(live, chosen, port, protocol)
        found = await asyncio.to_thread(reach, sources, targets, port, protocol, expected=expected)
    finally:
        places.close()
    return found.to_dict()


def _services(live: Live, namespace: str | None) -> list[Place]:
    found = [s for s in live.client.list(Service, namespace) if s.spec and s.spec.clusterIP not in (None, "", "None")]
    return [Place(f"{s.metadata.namespace}/{s.metadata.name}", s.spec.clusterIP or "")
            for s in found if s.metadata and s.spec]  # fmt: skip


def _expected(live: Live, pods: dict[str, PodFacts], port: int, protocol: str) -> dict[tuple[str, str], bool]:
    policies, namespaces = list(live.policies.objects.values()), live.policies.namespaces
    ends = {name: Endpoint(facts.ip, facts) for name, facts in pods.items()}
    return {
        (a, b): evaluate(policies, namespaces, ends[a], ends[b], port, protocol).allowed for a in ends for b in ends
    }
