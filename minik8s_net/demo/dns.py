"""Section "DNS Resolution inside Kubernetes": CoreDNS' role, namespaces, and names for pods."""

from __future__ import annotations

from . import seed
from .stage import SERVER, TOOLS, Stage, brief, pod
from .statements import Finding, Section

section = Section("DNS Resolution inside Kubernetes", [])
ZONE = "svc.cluster.local"


@section.statement(
    "2.1", "Kubernetes provides built-in DNS services to resolve the names of services and Pods within the cluster."
)
def built_in(stage: Stage) -> list[Finding]:
    server = stage.cluster.get("service", "kube-dns", "kube-system")
    api = stage.resolve("client", "kubernetes.default")
    unknown = stage.resolve("client", "no-such-service")
    return [
        Finding("look at Service kube-dns", f"at {server.spec.clusterIP}", server.spec.clusterIP == "10.96.0.10"),
        Finding("client looks up kubernetes.default", ", ".join(api), bool(api)),
        Finding("control: an unknown name", ", ".join(unknown) or "NXDOMAIN", not unknown),
    ]


@section.statement(
    "2.2",
    "When you create services or Pods with specific names, CoreDNS ensures that their DNS names can be resolved "
    "by other Pods or services.",
)
def created_names(stage: Stage) -> list[Finding]:
    before = stage.resolve("client", "my-service")
    stage.cluster.apply(seed.manifests()["my-service"])
    found = stage.until(lambda: stage.resolve("client", "my-service") == ["10.96.0.1"])
    return [
        Finding("control: before it exists, client looks up my-service", ", ".join(before) or "NXDOMAIN", not before),
        Finding("my-service of the text is applied unchanged, then looked up", "10.96.0.1" if found else "?", found),
    ]


@section.statement("2.3", "By default, Kubernetes provides DNS resolution for services within the same namespace.")
def same_namespace(stage: Stage) -> list[Finding]:
    stage.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    stage.cluster.apply(pod("visitor", "visitor", TOOLS), namespace="elsewhere")
    stage.ready("visitor", "elsewhere")
    short = stage.resolve("visitor", "my-service", "elsewhere")
    longer = stage.resolve("visitor", "my-service.default", "elsewhere")
    return [
        Finding("client (namespace default) looks up my-service", *_found(stage.resolve("client", "my-service"))),
        Finding("control: visitor (namespace elsewhere) looks it up", ", ".join(short) or "NXDOMAIN", not short),
        Finding("visitor looks up my-service.default", *_found(longer)),
    ]


@section.statement("2.4", "The default format is service-name.namespace.svc.cluster.local.")
def format_of_names(stage: Stage) -> list[Finding]:
    return [
        Finding(
            f"client looks up my-service.default.{ZONE}", *_found(stage.resolve("client", f"my-service.default.{ZONE}"))
        )
    ]


@section.statement("2.5", "While Pods do not get DNS names by default, they can be assigned DNS names if required.")
def pods_without_names(stage: Stage) -> list[Finding]:
    stage.cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "crew"},
                "spec": {"clusterIP": "None", "selector": {"app": "named"}, "ports": [{"port": 8080}]},
            },
            pod("named", "named", SERVER, hostname="anna", subdomain="crew"),
        ]
    )
    stage.ready("named")
    name = f"anna.crew.default.{ZONE}"
    given = stage.until(lambda: stage.resolve("client", name) == [stage.ip("named")])
    none = stage.resolve("client", "web-1")
    return [
        Finding("by default: client looks up the pod web-1", ", ".join(none) or "NXDOMAIN", not none),
        Finding(f"a pod with hostname and subdomain: {name}", stage.ip("named") if given else "NXDOMAIN", given),
    ]


@section.statement(
    "2.6",
    "A Pod with a DNS policy set to ClusterFirst will use the Kubernetes DNS service to resolve names in the cluster.",
)
def cluster_first(stage: Stage) -> list[Finding]:
    stage.cluster.apply(seed.manifests()["mypod"])
    stage.ready("mypod")
    resolv = stage.run("mypod", "cat", "/etc/resolv.conf").stdout
    welcome = stage.fetch("client", f"http://{stage.ip('mypod')}/")
    found = stage.resolve("mypod", "my-service")
    return [
        Finding(
            "mypod of the text is applied unchanged",
            " | ".join(resolv.split("\n")[:3]).strip(" |"),
            "nameserver 10.96.0.10" in resolv,
        ),
        Finding("its nginx serves on port 80", brief(welcome)[:60], bool(welcome)),
        Finding("mypod looks up my-service", *_found(found)),
    ]


def _found(addresses: list[str]) -> tuple[str, bool]:
    return ", ".join(addresses) or "NXDOMAIN", addresses == ["10.96.0.1"]
