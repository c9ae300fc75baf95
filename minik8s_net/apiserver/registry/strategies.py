"""Which strategy a kind has."""

from __future__ import annotations

from ...api.kinds import Kind
from .jobs import JobStrategy
from .namespaces import NamespaceStrategy
from .pods import PodStrategy
from .services import ServiceStrategy
from .strategy import Strategy


class ReturningStrategy(Strategy):
    """Kinds whose finished DELETE answers with the object, for no reason but history."""

    returns_object = True


_BY_RESOURCE: dict[str, type[Strategy]] = {
    "pods": PodStrategy,
    "services": ServiceStrategy,
    "namespaces": NamespaceStrategy,
    "jobs.batch": JobStrategy,
    **dict.fromkeys(
        ("serviceaccounts", "podtemplates", "persistentvolumes", "persistentvolumeclaims", "resourcequotas"),
        ReturningStrategy,
    ),
}


def strategy_for(kind: Kind) -> type[Strategy]:
    """The class that knows what is special about a kind."""
    return _BY_RESOURCE.get(kind.qualified, Strategy)
