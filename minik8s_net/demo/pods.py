"""Section "Pod-to-Pod Networking (localhost & cluster IP)"."""

from __future__ import annotations

from .stage import SERVER, TOOLS, Stage, brief, pod
from .statements import Finding, Section

section = Section("Pod-to-Pod Networking (localhost & cluster IP)", [])
SERVICE = "http://my-service.default.svc.cluster.local/hostname"


@section.statement(
    "3.1", "Pods can be reached using their IP address, without the need for external IPs or DNS resolution."
)
def by_address(stage: Stage) -> list[Finding]:
    web = stage.ip("web-2")
    answer = stage.fetch("client", f"http://{web}:8080/hostname")
    return [Finding(f"client fetches http://{web}:8080 (no name involved)", brief(answer), answer.stdout == "web-2")]


@section.statement("3.2", "Containers within the same Pod can communicate with each other over localhost.")
def localhost(stage: Stage) -> list[Finding]:
    stage.cluster.apply(pod("duo", "duo", SERVER, containers=[SERVER, TOOLS]))
    stage.ready("duo")
    mine = stage.fetch("duo", "http://localhost:8080/hostname", container="tools")
    foreign = stage.fetch("client", "http://localhost:8080/hostname")
    return [
        Finding("container tools of pod duo fetches http://localhost:8080", brief(mine), mine.stdout == "duo"),
        Finding("control: pod client's localhost is its own: nobody listens", brief(foreign), not foreign),
    ]


@section.statement("3.3", "they are considered part of the same local network")
def one_network(stage: Stage) -> list[Finding]:
    inodes = [
        stage.run("duo", "readlink", "/proc/self/ns/net", container=c).stdout.strip() for c in ("server", "tools")
    ]
    other = stage.run("client", "readlink", "/proc/self/ns/net").stdout.strip()
    return [
        Finding("the network namespaces of duo's two containers", " and ".join(inodes), inodes[0] == inodes[1] != ""),
        Finding("control: pod client's is another", other, other not in inodes),
    ]


@section.statement(
    "3.4",
    "When creating a Service, Kubernetes assigns it a virtual IP (Cluster IP) that other Pods can use to access "
    "the service.",
)
def cluster_ip(stage: Stage) -> list[Finding]:
    stage.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "assigned"},
            "spec": {"selector": {"app": "my-app"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
    )
    ip = stage.cluster.get("service", "assigned").spec.clusterIP
    reached = stage.until(lambda: bool(stage.fetch("client", f"http://{ip}/hostname", seconds=1)))
    rules = stage.cluster.shell("node-1", "iptables -t nat -S KUBE-SERVICES").stdout
    rule = next((line for line in rules.splitlines() if f"{ip}/32" in line), "no rule")
    return [
        Finding("a Service without clusterIP gets one", ip, ip.startswith("10.96.")),
        Finding(f"client fetches http://{ip}", "answered" if reached else "no answer", reached),
        Finding("what makes it so, on node-1", rule, rule != "no rule"),
    ]


@section.statement("3.5", "Services provide stable endpoints for Pods, even as Pods come and go.")
def stable(stage: Stage) -> list[Finding]:
    before = stage.cluster.get("service", "my-service").spec.clusterIP
    old = stage.ip("web-1")
    stage.cluster.delete("pod", "web-1")
    meanwhile = [stage.fetch("client", SERVICE).stdout for _ in range(5)]
    stage.cluster.apply(pod("web-1", "my-app", SERVER, "node-1"))
    stage.ready("web-1")
    back = stage.until(lambda: stage.fetch("client", SERVICE).stdout == "web-1")
    after = stage.cluster.get("service", "my-service").spec.clusterIP
    return [
        Finding(
            "web-1 is deleted: who answers for my-service?",
            ", ".join(sorted(set(meanwhile))),
            set(meanwhile) == {"web-2"},
        ),
        Finding("a new web-1 comes: it answers too", f"web-1, {old} before, {stage.ip('web-1')} now", back),
        Finding("my-service's address before and after", f"{before} and {after}", before == after == "10.96.0.1"),
    ]


@section.statement(
    "3.6",
    "Pods can access the service by its DNS name my-service.default.svc.cluster.local, or directly using its "
    "Cluster IP 10.96.0.1.",
)
def by_name_or_address(stage: Stage) -> list[Finding]:
    name, address = stage.fetch("client", SERVICE), stage.fetch("client", "http://10.96.0.1/hostname")
    wrong = stage.fetch("client", "http://10.96.0.1:81/hostname", seconds=1)
    return [
        Finding("client fetches by name", brief(name), name.stdout in ("web-1", "web-2")),
        Finding("client fetches http://10.96.0.1", brief(address), address.stdout in ("web-1", "web-2")),
        Finding("control: a port that the Service does not have", brief(wrong), not wrong),
    ]
