from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from .serving import Api, Serving, serving

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("apiserver")) as running:
        yield running


@pytest.fixture
def api(cluster: Serving) -> Iterator[Api]:
    with cluster.api() as api:
        yield api


@pytest.fixture
def namespace(api: Api) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
