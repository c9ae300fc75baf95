"""Last rung: a real packet's trace. Where reasoning and kernel differ, that is the finding."""

from __future__ import annotations

from ...api.errors import StatusError
from ...boot.live import Live
from ..trace.model import Trace
from ..trace.places import Place, Places
from ..trace.target import Target
from ..trace.tracer import Tracer
from .model import DEGRADED, Cause, Step

SECONDS = 0.6  # an answer takes milliseconds
PATIENCE = 2.5  # where the way is a slow or a lossy one: TCP has sent it twice more by then
TRIES = 2  # one packet may be lost on a busy machine


async def traced(
    live: Live, places: Places, source: Place, target: Target, namespace: str, want: bool, seconds: float = SECONDS
) -> Trace | None:
    """The trace of one exchange, tried again if it does not end as reasoned; None where it has no one address."""
    found = None
    for _ in range(TRIES):
        try:
            found = await Tracer(live, source, places, target, namespace, seconds).trace()
        except StatusError:  # it has gone meanwhile
            return None
        if arrived(found) == want:
            break
    return found


def arrived(trace: Trace) -> bool:
    """Whether the network did its part. A UDP server may be silent: it is enough that its socket got the datagram."""
    at_socket = any(s.layer == "socket" and s.direction == "out" for s in trace.stations)
    return trace.delivered or (trace.target.startswith("udp://") and trace.verdict == "no-answer" and at_socket)


def compare(trace: Trace, cause: Cause | None, ends: int) -> tuple[Step, str]:
    """The step that the trace is, and the difference from the reasoning in words, or ""."""
    question = "does a real packet get through?"
    said = f"the kernel says {trace.verdict}: {trace.because}".rstrip(": ")
    if cause is None:
        ok = arrived(trace)
        return Step(question, ok, said), "" if ok else f"by objects and rules it should work, and yet {said}"
    step = Step(question, None, said)
    if not arrived(trace) or cause.kind in DEGRADED or ends > 1:  # with several ends it may have met a good one
        return step, ""
    return step, f"the cause above should stop it, and yet {said}"
