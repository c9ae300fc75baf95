"""The registry: what all writes go through, whoever makes them. In Kubernetes: pkg/registry and admission."""

from .options import DeleteOptions, WriteOptions
from .registry import Registry

__all__ = ["DeleteOptions", "Registry", "WriteOptions"]
