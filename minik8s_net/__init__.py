"""minik8s-net: a real Kubernetes network small enough to see all of.

The one public class is :class:`Cluster`; everything else is a component with the name it has in Kubernetes,
one folder each (see ``docs/architecture.md``).
"""

from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .cluster import Cluster

__all__ = ["Cluster", "__version__"]


def __getattr__(name: str) -> object:
    """Import :class:`Cluster` only when asked for: the command line must start quickly."""
    if name == "Cluster":
        from .cluster import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
