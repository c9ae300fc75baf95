"""Section "Inter-Pod Communication (Cluster networking)": the network model and NetworkPolicies."""

from __future__ import annotations

from . import seed
from .stage import SERVER, TOOLS, Stage, brief, pod
from .statements import Finding, Section

section = Section("Inter-Pod Communication (Cluster networking)", [])
_POLICY = "allow-app-pods"


@section.statement("1.1", "Every Pod in a Kubernetes cluster gets its own unique IP address")
def unique_addresses(stage: Stage) -> list[Finding]:
    pods = stage.cluster.get("pods", namespace="*")
    own = {f"{p.metadata.namespace}/{p.metadata.name}": p.status.podIP for p in pods}
    listed = ", ".join(f"{name.split('/')[1]} {ip}" for name, ip in own.items() if name.startswith("default/"))
    return [
        Finding("read every pod's address", listed, len(set(own.values())) == len(own) and None not in own.values())
    ]


@section.statement(
    "1.2",
    "allows Pods to communicate with each other directly, as well as with services, nodes, and external resources",
)
def everything_reached(stage: Stage) -> list[Finding]:
    web, node = stage.ip("web-2"), stage.cluster.get("node", "node-2").status.addresses[0].address
    to_pod = stage.fetch("client", f"http://{web}:8080/hostname")
    to_service = stage.run("client", "curl", "-sk", "-m", "2", "-o", "/dev/null", "https://kubernetes.default")
    to_node = stage.run("client", "ping", "-c", "1", "-W", "2", node)
    outside = "172.18.0.2"
    to_outside = stage.run("client", "ping", "-c", "1", "-W", "2", outside)
    nowhere = stage.run("client", "ping", "-c", "1", "-W", "1", "192.0.2.1")
    return [
        Finding(f"client fetches from pod web-2 at {web}", brief(to_pod), to_pod.stdout == "web-2"),
        Finding("client connects to Service kubernetes", f"exit {to_service.exit_code}", bool(to_service)),
        Finding(f"client pings node-2 at {node}", _ping(to_node), bool(to_node)),
        Finding(f"client pings a host outside the cluster at {outside}", _ping(to_outside), bool(to_outside)),
        Finding("control: an address that nobody has does not answer", _ping(nowhere), not nowhere),
    ]


@section.statement("1.3", "Pods can communicate with each other across nodes using their assigned IP addresses.")
def across_nodes(stage: Stage) -> list[Finding]:
    nodes = stage.node_of("client"), stage.node_of("web-2")
    there = stage.fetch("client", f"http://{stage.ip('web-2')}:8080/hostname")
    route = stage.cluster.shell("node-1", "ip route get " + stage.ip("web-2")).stdout.split("\n")[0].strip()
    return [
        Finding("client is on one node, web-2 on another", " and ".join(nodes), nodes[0] != nodes[1]),
        Finding("client fetches from web-2", f"{brief(there)}; node-1's route: {route}", there.stdout == "web-2"),
    ]


@section.statement("1.4", "all Pods can communicate with each other without Network Address Translation (NAT)")
def no_nat(stage: Stage) -> list[Finding]:
    findings = []
    for server, where in (("web-1", "the same node"), ("web-2", "another node")):
        seen = stage.fetch("client", f"http://{stage.ip(server)}:8080/clientip").stdout.rpartition(":")[0]
        findings.append(
            Finding(
                f"{server} ({where}) is asked who its client is",
                f"{seen}; client's pod IP is {stage.ip('client')}",
                seen == stage.ip("client"),
            )
        )
    return findings


@section.statement("1.5", "By default, Pods can communicate with each other.")
def open_by_default(stage: Stage) -> list[Finding]:
    none = not stage.cluster.get("networkpolicies", namespace="*")
    answers = [stage.fetch(name, f"http://{stage.ip('web-1')}:8080/hostname") for name in ("client", "stranger")]
    return [
        Finding("there is no NetworkPolicy", "none" if none else "there is one", none),
        Finding("client and stranger fetch from web-1", ", ".join(map(brief, answers)), all(answers)),
    ]


@section.statement(
    "1.6",
    "These policies allow you to define rules to specify which Pods can communicate with each other, "
    "based on labels, namespaces, and IP ranges.",
)
def policies(stage: Stage) -> list[Finding]:
    stage.cluster.apply(seed.manifests()[_POLICY])
    web, other = f"http://{stage.ip('web-1')}:8080/hostname", stage.ip("client")
    stage.until(lambda: not stage.fetch("stranger", web, seconds=1))
    allowed, refused = stage.fetch("client", web), stage.fetch("stranger", web, seconds=1)
    chain = stage.cluster.shell("node-1", "iptables -S FORWARD").stdout.splitlines()
    findings = [
        Finding(f"{_POLICY} of the text is applied unchanged", _first_rule(chain), True),
        Finding("client (app=allowed-app) fetches from web-1 (app=my-app)", brief(allowed), bool(allowed)),
        Finding("control: stranger (app=other-app) is refused", brief(refused), not refused),
    ]
    findings += _by_namespace(stage, web) + _by_range(stage, web, other)
    stage.cluster.delete("networkpolicy", "by-namespace")
    stage.cluster.delete("networkpolicy", "by-range")
    return findings


@section.statement("1.7", "However, you can define more restrictive communication policies to isolate Pods.")
def isolation(stage: Stage) -> list[Finding]:
    stage.cluster.apply(pod("bystander", "bystander", SERVER, "node-1"))
    stage.ready("bystander")
    isolated = stage.fetch("stranger", f"http://{stage.ip('web-1')}:8080/hostname", seconds=1)
    free = stage.fetch("stranger", f"http://{stage.ip('bystander')}:8080/hostname")
    stage.cluster.delete("networkpolicy", _POLICY)
    web = f"http://{stage.ip('web-1')}:8080/hostname"
    again = stage.until(lambda: bool(stage.fetch("stranger", web, seconds=1)))
    return [
        Finding("web-1 is selected by the policy: stranger cannot come in", brief(isolated), not isolated),
        Finding("control: bystander is selected by none: stranger may", brief(free), bool(free)),
        Finding("the policy is deleted: stranger reaches web-1 again", str(again).lower(), again),
    ]


def _by_namespace(stage: Stage, web: str) -> list[Finding]:
    stage.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "friends"}})
    stage.cluster.apply(
        {
            **_policy("by-namespace"),
            "spec": {
                "podSelector": {"matchLabels": {"app": "my-app"}},
                "ingress": [
                    {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "friends"}}}]}
                ],
            },
        }
    )
    stage.cluster.apply(pod("friend", "any", TOOLS), namespace="friends")
    stage.ready("friend", "friends")
    stage.until(lambda: bool(stage.fetch("friend", web, namespace="friends", seconds=1)))
    friend, stranger = stage.fetch("friend", web, namespace="friends"), stage.fetch("stranger", web, seconds=1)
    return [
        Finding("by namespace: a pod of namespace friends may come in", brief(friend), bool(friend)),
        Finding("control: stranger, of namespace default, still may not", brief(stranger), not stranger),
    ]


def _by_range(stage: Stage, web: str, other: str) -> list[Finding]:
    block = f"{stage.ip('stranger')}/32"
    stage.cluster.apply(
        {
            **_policy("by-range"),
            "spec": {
                "podSelector": {"matchLabels": {"app": "my-app"}},
                "ingress": [{"from": [{"ipBlock": {"cidr": block}}]}],
            },
        }
    )
    open_now = stage.until(lambda: bool(stage.fetch("stranger", web, seconds=1)))
    return [Finding(f"by IP range: {block} may come in", "stranger is let in" if open_now else "refused", open_now)]


def _policy(name: str) -> dict[str, object]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}}


def _first_rule(chain: list[str]) -> str:
    return next((line for line in chain if line.startswith("-A")), "no rule in FORWARD")


def _ping(result: object) -> str:
    return "answers" if result else "no answer"
