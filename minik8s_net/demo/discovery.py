"""Section "Service Discovery & Pod IP Assignment", headless Services included."""

from __future__ import annotations

from collections import Counter

from . import seed
from .stage import SERVER, Stage, pod
from .statements import Finding, Section

section = Section("Service Discovery & Pod IP Assignment", [])


@section.statement(
    "4.1",
    "Service discovery allows Pods to find and communicate with other Pods or Services without knowing their IP "
    "addresses.",
)
def discovery(stage: Stage) -> list[Finding]:
    answer = stage.fetch("client", "http://my-service/hostname")
    return [Finding("client knows only the name my-service", answer.stdout, answer.stdout in ("web-1", "web-2"))]


@section.statement(
    "4.2", "The service name resolves to the service's Cluster IP, which routes traffic to the appropriate Pods."
)
def routing(stage: Stage) -> list[Finding]:
    script = "for i in $(seq 20); do curl -s -m 2 http://my-service/hostname; echo; done"
    share = Counter(stage.run("client", "sh", "-c", script).stdout.split())
    slices = stage.cluster.get("endpointslices", labels="kubernetes.io/service-name=my-service")
    ends = sorted(a for s in slices for e in s.endpoints for a in e.addresses)
    pods = sorted([stage.ip("web-1"), stage.ip("web-2")])
    return [
        Finding(
            "20 requests to my-service",
            ", ".join(f"{k} {v}x" for k, v in sorted(share.items())),
            set(share) == {"web-1", "web-2"},
        ),
        Finding("its EndpointSlice lists the pods with app=my-app, no other", ", ".join(ends), ends == pods),
    ]


@section.statement(
    "4.3", "The IP addresses are unique within the cluster, but they are not guaranteed to persist across Pod restarts."
)
def dynamic(stage: Stage) -> list[Finding]:
    stage.cluster.apply(pod("fleeting", "fleeting", SERVER))
    stage.ready("fleeting")
    first = stage.ip("fleeting")
    stage.cluster.delete("pod", "fleeting")
    stage.cluster.apply(pod("fleeting", "fleeting", SERVER))
    stage.ready("fleeting")
    return [
        Finding(
            "pod fleeting is deleted and made again",
            f"{first}, then {stage.ip('fleeting')}",
            first != stage.ip("fleeting"),
        )
    ]


@section.statement(
    "4.4",
    "Services, on the other hand, are assigned stable Cluster IPs, which remain constant, even if the Pods behind "
    "the service change.",
)
def constant(stage: Stage) -> list[Finding]:
    before = stage.cluster.get("service", "assigned").spec.clusterIP
    stage.cluster.apply(pod("web-3", "my-app", SERVER))
    stage.ready("web-3")
    answers = stage.until(lambda: stage.fetch("client", f"http://{before}/hostname").stdout == "web-3")
    after = stage.cluster.get("service", "assigned").spec.clusterIP
    stage.cluster.delete("pod", "web-3")
    return [
        Finding(
            "a third pod joins behind it and answers", f"{before} before, {after} after", answers and before == after
        )
    ]


@section.statement(
    "4.5",
    "Headless services do not assign a Cluster IP but instead create DNS records that resolve directly to the Pod IPs.",
)
def headless(stage: Stage) -> list[Finding]:
    stage.cluster.apply(seed.manifests()["my-headless-service"])
    ip = stage.cluster.get("service", "my-headless-service").spec.clusterIP
    pods = sorted([stage.ip("web-1"), stage.ip("web-2")])
    stage.until(lambda: stage.resolve("client", "my-headless-service") == pods)
    found = stage.resolve("client", "my-headless-service")
    with_vip = stage.resolve("client", "my-service")
    return [
        Finding("my-headless-service of the text is applied unchanged", f"clusterIP: {ip}", ip == "None"),
        Finding("client looks it up: the pods themselves", ", ".join(found), found == pods),
        Finding("control: my-service, not headless", ", ".join(with_vip), with_vip == ["10.96.0.1"]),
    ]


@section.statement("4.6", "where Pods need to communicate directly with each other")
def direct(stage: Stage) -> list[Finding]:
    seen = stage.fetch("web-1", "http://my-headless-service:8080/clientip").stdout.rpartition(":")[0]
    return [
        Finding(
            "web-1 talks to a pod of the headless Service: no proxy between",
            f"the server saw {seen}",
            seen == stage.ip("web-1") or seen == "127.0.0.1",
        )
    ]
