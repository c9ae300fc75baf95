"""What all widgets share: the ES module, and how the browser asks and is answered.

The browser sends {"ask": NAME, …}; the method `on_NAME(asked)` runs on a short-lived thread of its own, so that the
kernel's loop is never blocked, and what it returns is sent back as {"answer": NAME, …}. An error is sent as text: it
appears in the widget, never in somebody's cell.
"""

from __future__ import annotations

import contextvars
import threading
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ...client.http import Api
from ...cluster import Cluster
from ..background import remember

Json = dict[str, Any]
MOST_AT_ONCE = 8  # questions of one widget under way; a ninth is turned away
_HERE = Path(__file__).parents[1]


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text()


class Face(anywidget.AnyWidget):
    """A widget of ours. `view` says which drawing of widget.js; `state` is what it begins with."""

    _esm = _asset("widget.js")
    _css = _asset("style.css")
    view = traitlets.Unicode().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    VIEW = ""

    def __init__(self, **state: Any) -> None:
        self._asked_now = threading.Semaphore(MOST_AT_ONCE)
        super().__init__(view=self.VIEW, state=state)
        self.on_msg(self._on_message)
        remember(self)

    def text(self) -> str:
        """What is shown where there are no widgets: a terminal, a saved notebook without its kernel."""
        return f"{type(self).__name__} (run the cell in Jupyter to see it)"

    def __repr__(self) -> str:
        return self.text()

    def tell(self, **message: Any) -> None:
        """Send to every view. From any thread."""
        if self.comm is not None:
            self.send(message)

    def _on_message(self, _: Any, message: Json, __: Any) -> None:
        if not self._asked_now.acquire(blocking=False):
            self.tell(error="too many questions at once: wait for an answer")
            return
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._answer, message), name=f"minik8s-notebook-{message.get('ask')}", daemon=True
        ).start()

    def _answer(self, message: Json) -> None:
        name = str(message.get("ask"))
        method = getattr(self, f"on_{name}", None)
        try:
            if name not in self.asks() or method is None:
                raise LookupError(f"{type(self).__name__} knows no {name!r}")
            answer = method(message)
            if answer is not None:
                self.tell(answer=name, **answer)
        except Exception as error:  # whatever it is, the reader of the widget is the one to be told
            self.tell(answer=name, error=str(error) or type(error).__name__)
        finally:
            self._asked_now.release()

    @classmethod
    def asks(cls) -> list[str]:
        """What the browser may ask for: the names of our own on_… methods."""
        return [name[3:] for one in cls.__mro__ if issubclass(one, Face) for name in vars(one) if name[:3] == "on_"]


def twin(cluster: Cluster) -> Cluster:
    """The same cluster with a connection of its own: an Api serves one thread at a time."""
    other = Cluster.__new__(Cluster)
    other.__dict__.update(cluster.__dict__)
    other.api = Api(cluster.api.connection)
    return other
