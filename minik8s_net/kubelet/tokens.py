"""The tokens in pods' volumes, asked for as the kubelet's token manager does and renewed long before they expire.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError

OLD = 24 * 3600.0  # seconds after which any token is renewed
RIPE = 0.8  # of its life, after which it is
Ask = Callable[[Pod, str, int], str]  # (pod, audience, seconds) -> a token bound to the pod; raises StatusError
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """A token, when it was issued and for how many seconds."""

    token: str
    issued: float
    seconds: int

    def is_due(self, now: float) -> bool:
        """It should be renewed: 80 % of its life are over or 24 hours, or the clock was set back."""
        return not self.issued <= now < self.issued + min(OLD, RIPE * self.seconds)


class PodTokens:
    """Those of one node's pods. One that cannot be renewed is kept as long as it is good."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._held: dict[str, dict[tuple[str, int], Held]] = {}  # pod's uid -> (audience, seconds) -> token

    def get(self, pod: Pod, audience: str, seconds: int) -> str:
        """The pod's token for this audience ("": the API itself). Raises StatusError where there is none."""
        uid = (pod.metadata.uid if pod.metadata else "") or ""
        key, now = (audience, seconds), time.time()
        held = self._held.setdefault(uid, {}).get(key)
        if held is None or held.is_due(now):
            try:
                held = self._held[uid][key] = Held(self._ask(pod, audience, seconds), now, seconds)
            except StatusError as error:
                if held is None or now >= held.issued + seconds:
                    raise
                log.warning("a token of pod %s is not renewed: %s", uid, error)
        return held.token

    def due(self) -> list[str]:
        """The uids of pods with a token to be renewed."""
        now = time.time()
        return [uid for uid, held in self._held.items() if any(one.is_due(now) for one in held.values())]

    def forget(self, uid: str) -> None:
        """The pod has gone."""
        self._held.pop(uid, None)
