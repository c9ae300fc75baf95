"""What Prometheus may scrape of the data plane, beside the API server's own metrics on the same /metrics.

kube-proxy's names, with the node as a label, since all nodes' proxies are in one process; CoreDNS' names as its pods
give them, with the pod as a label; and the kernel's counters as `minik8s_…`.
https://kubernetes.io/docs/reference/instrumentation/metrics/ · https://coredns.io/plugins/metrics/
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

from lightkube.resources.core_v1 import Pod

from ..dns.http import PORTS
from ..dns.manifests import LABELS, NAMESPACE
from .top import top

if TYPE_CHECKING:
    from ..boot.live import Live
    from ..proxy.syncs import Syncs

PATIENCE = 0.5  # seconds for one DNS pod
SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")


async def metrics(live: Live) -> str:
    """The text format, version 0.0.4."""
    lines: list[str] = []
    syncs = {name: live.nodes.agents(name).proxier.syncs for name in live.nodes.names()}
    lines += _proxies(live, syncs)
    lines += await _dns(live)
    lines += _counters(await top(live, {}))
    return "\n".join(lines) + "\n"


# -- kube-proxy ------------------------------------------------------------------------------------------------------
def _proxies(live: Live, syncs: dict[str, Syncs]) -> list[str]:
    prefix = "kubeproxy_sync_proxy_rules"
    lines = [f"# TYPE {prefix}_duration_seconds histogram"]
    for node, sync in syncs.items():
        for limit, count in sync.buckets():
            lines.append(_sample(f"{prefix}_duration_seconds_bucket", {"node": node, "le": limit}, count))
        lines.append(_sample(f"{prefix}_duration_seconds_sum", {"node": node}, sync.seconds))
        lines.append(_sample(f"{prefix}_duration_seconds_count", {"node": node}, sync.count))
    for name, kind, field in (
        ("last_timestamp_seconds", "gauge", "last"),
        ("service_changes_total", "counter", "service_changes"),
        ("endpoint_changes_total", "counter", "endpoint_changes"),
    ):
        lines.append(f"# TYPE {prefix}_{name} {kind}")
        lines += [_sample(f"{prefix}_{name}", {"node": n}, getattr(sync, field)) for n, sync in syncs.items()]
    if live.config.proxy_mode == "iptables":
        lines.append(f"# TYPE {prefix}_iptables_total gauge")
        for node in syncs:
            for table, count in live.nodes.agents(node).proxier.rules_total().items():
                lines.append(_sample(f"{prefix}_iptables_total", {"node": node, "table": table}, count))
    return lines


# -- CoreDNS ---------------------------------------------------------------------------------------------------------
async def _dns(live: Live) -> list[str]:
    """Asked of each DNS pod, from its node. One that does not answer is left out: that too is a measurement."""
    types: dict[str, str] = {}
    samples: list[str] = []
    for pod in live.client.list(Pod, NAMESPACE, LABELS):
        assert pod.metadata and pod.spec
        address, node = pod.status.podIP if pod.status else None, pod.spec.nodeName
        if not address or node not in live.nodes.names():
            continue
        text = await live.nodes.agents(node).netns.run(_scrape, address)
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                types[line.split()[2]] = line
            elif match := SAMPLE.fullmatch(line):
                labels = f'pod="{pod.metadata.name}"' + (f",{match[2]}" if match[2] else "")
                samples.append(f"{match[1]}{{{labels}}} {match[3]}")
    lines = []
    for name, line in types.items():
        lines += [line, *(s for s in samples if s.startswith(f"{name}{{"))]
    return lines


def _scrape(address: str) -> str:
    """On the node's thread. "" where nothing comes back in time."""
    try:
        with socket.create_connection((address, PORTS["metrics"]), PATIENCE) as sock:
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            sock.settimeout(PATIENCE)
            data = b"".join(iter(lambda: sock.recv(65536), b""))
    except OSError:
        return ""
    return data.partition(b"\r\n\r\n")[2].decode(errors="replace")


# -- the kernel's counters -------------------------------------------------------------------------------------------
def _counters(told: dict[str, Any]) -> list[str]:
    lines = []
    for name, keys in (("receive", ("rxPackets", "rxBytes")), ("transmit", ("txPackets", "txBytes"))):
        for what, key in zip(("packets", "bytes"), keys, strict=True):
            metric = f"container_network_{name}_{what}_total"  # cAdvisor's names
            lines.append(f"# TYPE {metric} counter")
            for pod in told["pods"]:
                labels = {"namespace": pod["namespace"], "pod": pod["name"], "interface": pod["interface"]}
                lines.append(_sample(metric, labels, pod[key]))
    for kind, labelled in (
        ("services", ("namespace", "name", "port")),
        ("policies", ("pod", "direction", "rule", "verdict")),
    ):
        for what in ("packets", "bytes"):
            metric = f"minik8s_{'service' if kind == 'services' else 'policy_rule'}_{what}_total"
            lines.append(f"# TYPE {metric} counter")
            lines += [_sample(metric, {name: one[name] for name in labelled}, one[what]) for one in told[kind]]
    return lines


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    escaped = (f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{','.join(escaped)}}} {value:.10g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
