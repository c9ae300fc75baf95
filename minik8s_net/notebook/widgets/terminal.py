"""A box to run commands in: in pods by exec, in nodes, the fabric and outside by the machine's own tools."""

from __future__ import annotations

import threading

from ...client.exec import ExecSession
from ...cluster import Cluster
from .base import Face, Json, twin

MOST = 60_000  # characters of one command's output; the browser keeps as many


class Terminal(Face):
    """`Terminal(cluster, "pod/client")`. Each line is a command of its own; Stop ends it."""

    VIEW = "terminal"

    def __init__(self, cluster: Cluster, place: str = "") -> None:
        self._cluster = cluster
        self._running: dict[int, ExecSession] = {}
        own = twin(cluster)
        pods = [f"pod/{p.metadata.name}" for p in own.get("pods")]
        nodes = [n.metadata.name for n in own.get("nodes")] + ["fabric", "outside"] if cluster.name else []
        greeting = "Type a command and press Enter; each runs by itself (cd does not last). ↑ brings back the last one."
        super().__init__(places=[*pods, *nodes], place=place, greeting=greeting)

    def close(self) -> None:
        """Ends what runs."""
        self.on_stop({})
        super().close()

    def on_run(self, asked: Json) -> Json:
        """A line. What it prints is sent as it comes."""
        place, line = str(asked["place"]), str(asked["line"])
        if not place.startswith("pod/"):
            done = twin(self._cluster).shell(place, ["sh", "-c", line])
            return {"out": str(done)[:MOST], "exit": done.exit_code}
        own = twin(self._cluster)
        session = ExecSession(own.api, own.api.namespace, place.removeprefix("pod/"), None, ["sh", "-c", line])
        self._running[threading.get_ident()] = session
        try:
            self._stream(session)
        except OSError:
            return {"out": "(stopped)\n", "exit": 130}
        finally:
            self._running.pop(threading.get_ident(), None)
        note = f"{session.message}\n" if session.exit_code and "exit code" not in session.message else ""
        return {"out": note, "exit": session.exit_code}

    def _stream(self, session: ExecSession) -> None:
        sent = 0
        for _, data in session:
            text = data.decode(errors="replace")[: MOST - sent]
            sent += len(text)
            if text:
                self.tell(out=text)
            if sent >= MOST:
                self.tell(out="\n… more than is shown here\n")
                return

    def on_stop(self, _: Json) -> None:
        """Close what runs; the command's own end is the kubelet's affair."""
        for session in list(self._running.values()):
            session.socket.shutdown(2)
