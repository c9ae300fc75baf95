"""More pods of one node than the machine's neighbour table can know pairs of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minik8s_net import Cluster
from tests.conftest import Home

pytestmark = pytest.mark.cluster
NAME = "large"
PODS = 45  # 45 x 44 pairs of neighbours; the kernel's default limit is 1024 for all namespaces together


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = Home(tmp_path_factory.mktemp("large"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIK8S_HOME", str(home.path / "state"))
        home.minik8s("up", "--cluster", NAME, "--nodes", "1")
        yield home.cluster(NAME)
        home.minik8s("down", "--all")


def test_reach_of_many_pods_on_one_node_blames_no_policy(cluster: Cluster) -> None:
    labels = {"app": "many"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": PODS, "selector": {"matchLabels": labels}, "template": template}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec})
    cluster.wait("deployment/many", "condition=Available", timeout=60)
    for _ in range(2):
        found = cluster.reach(port=80)
        assert len(found.cells) == PODS**2
        assert not found.wrong, found
    assert _entries() < 700, "what reach has learned is forgotten, for the sake of all others on this machine"


def _entries() -> int:
    """Of the machine's one table, all namespaces together."""
    first = Path("/proc/net/stat/arp_cache").read_text().splitlines()[1]
    return int(re.split(r"\s+", first.strip())[0], 16)
