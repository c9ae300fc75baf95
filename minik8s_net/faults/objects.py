"""Faults a person makes: a Service whose selector or targetPort is wrong. Done once, like by hand."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from lightkube.resources.core_v1 import Service

from ..api.errors import StatusError
from .catalogue import Json
from .mechanism import Mechanism
from .record import Injected
from .targets import service

if TYPE_CHECKING:
    from ..boot.live import Live


class _Patched(Mechanism):
    """One field of a Service's spec is changed; put back unless somebody has changed it again since."""

    field = ""

    @abstractmethod
    def broken(self, value: object) -> object:
        """What the field becomes."""

    async def make(self, live: Live, fault: Injected) -> None:
        if not fault.saved:
            before = self._now(live, fault)
            fault.saved = {"before": before, "broken": self.broken(before)}
            self._write(live, fault, fault.saved["broken"], before)

    async def undo(self, live: Live, fault: Injected) -> None:
        try:
            if self._now(live, fault) == fault.saved.get("broken"):
                self._write(live, fault, fault.saved["before"], fault.saved["broken"])
        except StatusError as error:
            if error.code != 404:  # a Service that is gone is not broken any more
                raise

    def _now(self, live: Live, fault: Injected) -> object:
        return service(live, fault.parameters["service"]).to_dict()["spec"].get(self.field)

    def _write(self, live: Live, fault: Injected, value: object, instead_of: object) -> None:
        namespace, _, name = fault.parameters["service"].partition("/")
        if isinstance(value, dict) and isinstance(instead_of, dict):  # a merge patch keeps keys it does not name
            value = {**dict.fromkeys(instead_of), **value}
        live.client.patch(Service, name, {"spec": {self.field: value}}, namespace)


class SelectorTypo(_Patched):
    """Two letters change places, or one is doubled: as it happens to people."""

    field = "selector"

    def broken(self, value: object) -> object:
        assert isinstance(value, dict)
        key = sorted(value)[0]
        return {**value, key: _typo(value[key])}


class WrongTargetPort(_Patched):
    """One more than the container listens on."""

    field = "ports"

    def broken(self, value: object) -> object:
        assert isinstance(value, list)
        return [_next_port(port) for port in value]


def _typo(text: str) -> str:
    for i in range(len(text) - 1):
        if text[i] != text[i + 1] and text[i : i + 2].isalnum():
            return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return text + (text[-1:] or "x")


def _next_port(port: Json) -> Json:
    target = port.get("targetPort", port["port"])
    number = target if isinstance(target, int) else port["port"]
    return {**port, "targetPort": number % 65535 + 1}
