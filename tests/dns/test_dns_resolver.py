"""The machine's own resolver (getaddrinfo) walks its search path against our server, in namespaces of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import asyncio, json, socket, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_dns_wire import listener
from minik8s_net.dns.manifests import COREFILE
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
conf = Path(sys.argv[1]) / "resolv.conf"
search = "testns.svc.cluster.local svc.cluster.local cluster.local"
conf.write_text(f"nameserver 127.0.0.1\\nsearch {search}\\noptions ndots:5\\n")
subprocess.run(["mount", "--bind", str(conf), "/etc/resolv.conf"], check=True)
corefile = COREFILE.replace("errors", "log")
if sys.argv[3] == "refused":
    corefile = corefile.replace("file /etc/coredns/db.root .", "")

def look(name):
    try:
        return sorted({a[4][0] for a in socket.getaddrinfo(name, 80, socket.AF_INET)})
    except socket.gaierror as error:
        return socket.EAI_NONAME == error.errno and "EAI_NONAME" or "EAI_AGAIN"

async def main():
    server = listener(corefile=corefile)
    lines = []
    server.log_line = lines.append
    await server.listen("127.0.0.1", 53)
    loop = asyncio.get_running_loop()
    found = {}
    for name in ("web", "web.testns", "web.testns.svc.cluster.local", "nosuch"):
        lines.clear()
        began = loop.time()
        answer = await loop.run_in_executor(None, look, name)
        asked = [line.split('"')[1].split()[2] for line in lines]
        found[name] = {"answer": answer, "asked": asked, "seconds": loop.time() - began}
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.mark.netns
@pytest.mark.parametrize("outside", ["empty", "refused"])
def test_search_path_walk(tmp_path: Path, outside: str) -> None:
    command = ["unshare", "-Urnm", sys.executable, "-c", SCRIPT, str(tmp_path), str(Path(__file__).parent), outside]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["web"]["answer"] == ["10.96.0.1"]
    assert found["web"]["asked"] == ["web.testns.svc.cluster.local."]
    assert found["web.testns"]["asked"] == ["web.testns.testns.svc.cluster.local.", "web.testns.svc.cluster.local."]
    assert found["web.testns.svc.cluster.local"]["answer"] == ["10.96.0.1"]
    # A name that exists nowhere: known not to exist in the default Corefile's empty world, else "try again".
    assert found["nosuch"]["answer"] == ("EAI_NONAME" if outside == "empty" else "EAI_AGAIN")
    assert found["nosuch"]["asked"][:4] == [
        "nosuch.testns.svc.cluster.local.",
        "nosuch.svc.cluster.local.",
        "nosuch.cluster.local.",
        "nosuch.",
    ]
    assert found["nosuch"]["seconds"] < 2
