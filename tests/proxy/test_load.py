"""Thousands of Services: loaded in pieces, the same by our messages as by nft, and at a change's own cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from lightkube.resources.core_v1 import Service

from minik8s_net.kernel import nft
from minik8s_net.kernel.netns import Netns
from minik8s_net.proxy import nftables
from minik8s_net.proxy.backend import backend
from minik8s_net.proxy.model import Endpoint, Node, ServicePort, service_ports
from minik8s_net.proxy.rules import Difference, Rules
from minik8s_net.runtime import ids
from tests.conftest import UNPRIVILEGED

from .cases import objects
from .rootless_load import service
from .test_reference import reference_ports

NODE = Node("node-1", "172.18.1.1")


@pytest.mark.netns
@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_an_ordinary_user_loads_in_pieces_and_each_service_appears_at_once(
    mode: str, request: pytest.FixtureRequest
) -> None:
    script, count = str(Path(__file__).with_name("rootless_load.py")), "1200"
    if os.getuid() == 0 and not ids.is_single():  # else we are an ordinary user, as root of a namespace of his
        python = shutil.which("python3", path="/usr/bin")
        if not python:
            pytest.skip("needs a python3 in /usr/bin that an unnamed user may run: apt-get install python3")
        library = str(request.getfixturevalue("public_library"))
        script = shutil.copy(script, f"{library}/rootless_load.py")
        user = f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}"
        start = ["setpriv", *user, "--clear-groups", "--", "env", f"PYTHONPATH={library}"]
    else:
        python, start = sys.executable, []
    command = [*start, "unshare", "-Urn", python, script, mode, count]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["half"], seen["left"], seen["there"]) == ([], [], int(count))
    assert seen["looks"] >= 2 and seen["lines"] == 200
    assert seen["tables"] == (["kube-proxy", "kube-proxy-2"] if mode == "nftables" else [])


def listed(where: Netns) -> list[str]:
    return sorted(line.strip().rstrip(",") for line in where.call(nft.list_table, "ip kube-proxy").splitlines())


def table_ports() -> list[ServicePort]:
    everything = objects()
    services = [o for o in everything if isinstance(o, Service)]
    of = {
        s.metadata.name: [o for o in everything if o.metadata.name.startswith(f"{s.metadata.name}-")] for s in services
    }
    return [port for s in services for port in service_ports(s, of[s.metadata.name], NODE)]


@pytest.mark.netns
@pytest.mark.parametrize("ports", [reference_ports(), table_ports()], ids=["reference", "table"])
def test_our_messages_make_the_same_table_as_nft_makes_of_the_text(ports: list[ServicePort]) -> None:
    rules = [nftables.render([port], NODE) for port in ports]
    changes = [Difference.between(Rules(), want) for want in (nftables.base(NODE), *rules)]
    ours, theirs = Netns.anonymous("ours"), Netns.anonymous("theirs")
    kernel = backend("nftables")
    ours.call(kernel.write, changes)
    theirs.call(nft.run, nftables.script(changes))
    assert listed(ours) == listed(theirs)
    # Change every Service's endpoints and back, and take half of them away.
    for i, (port, before) in enumerate(zip(ports, rules, strict=True)):
        other = nftables.render([_with_more_endpoints(port)], NODE)
        ours.call(kernel.write, [Difference.between(before, other)])
        ours.call(kernel.write, [Difference.between(other, before if i % 2 else Rules())])
    theirs.call(nft.run, nftables.script([Difference.between(before, Rules()) for before in rules[::2]]))
    assert listed(ours) == listed(theirs)
    kernel.close()
    for where in (ours, theirs):
        where.close()


def _with_more_endpoints(port: ServicePort) -> ServicePort:
    more = tuple(Endpoint(f"10.244.9.{n}", 80 + n, False) for n in range(2, 9))
    return replace(port, cluster=(*port.cluster, *more), endpoints_anywhere=True)


@pytest.mark.netns
@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_a_change_costs_about_the_same_among_many(mode: str) -> None:
    """Generous: what may grow is the kernel's own check of the table (5000 Services: docs/scale.md), not ours."""
    taken = {}
    for count in (10, 1000):
        where, kernel = Netns.anonymous("load"), backend(mode)
        rendered = [kernel.render([service(i, 2)], NODE) for i in range(count)]
        where.call(kernel.write, [kernel.delta(Rules(), want) for want in (kernel.base(NODE), *rendered)])
        one = kernel.render([service(count + 1, 2)], NODE)
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            where.call(kernel.write, [kernel.delta(Rules(), one)])
            times.append(time.perf_counter() - begin)
            where.call(kernel.write, [kernel.delta(one, Rules())])
        taken[count] = median(times)
        kernel.close()
        where.close()
    assert taken[1000] < 10 * taken[10] + 0.02, taken
