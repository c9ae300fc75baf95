from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import cases
from .objects import pod
from .world import World


@pytest.fixture(scope="session")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The nine pods of `cases` on two nodes, listening; without policies. Leave it so."""
    with World(tmp_path_factory.mktemp("nine")) as world:
        world.put(*cases.namespaces())
        for key in cases.KEYS:
            assert world.wire(key, cases.NODE[key]) == cases.IP[key]
            world.ready(pod(key, cases.IP[key], cases.NODE[key], cases.labels(key), cases.ports(key)))
            world.listen(key, 80, 81)
        yield world


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two empty nodes."""
    with World(tmp_path_factory.mktemp("world")) as made:
        yield made
