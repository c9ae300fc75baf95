"""What `minik8s up` applies to have names: the ServiceAccount, ConfigMap, Deployment and Service kubeadm writes."""

from __future__ import annotations

from typing import Any

from ..config import ClusterConfig

Json = dict[str, Any]
IMAGE = "minik8s/dns"
LABELS = {"k8s-app": "kube-dns"}
NAMESPACE = "kube-system"
COREFILE = """\
.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    # The cluster has no way out, so outside it no name exists. With a server to ask: forward . ADDRESS
    file /etc/coredns/db.root .
    cache 30
    reload
    loadbalance
}
"""
ROOT_ZONE = """\
; The world outside the cluster, as it is seen from here: empty.
. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30
"""


def manifests(config: ClusterConfig) -> list[Json]:
    """In the order in which to create them. https://github.com/kubernetes/kubernetes: cmd/kubeadm …/addons/dns"""
    corefile = COREFILE.replace("cluster.local", config.cluster_domain)
    data = {"Corefile": corefile, "db.root": ROOT_ZONE.replace("cluster.local", config.cluster_domain)}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta("coredns")},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta("coredns"), "data": data},
        _service(str(config.dns_ip)),
        _deployment(),
    ]


def _meta(name: str, labels: Json | None = None) -> Json:
    return {"name": name, "namespace": NAMESPACE, **({"labels": labels} if labels else {})}


def _service(ip: str) -> Json:
    labels = {**LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    ports = [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP"), ("metrics", 9153, "TCP")]
    spec = {
        "clusterIP": ip,
        "selector": LABELS,
        "ports": [{"name": n, "port": p, "protocol": q, "targetPort": p} for n, p, q in ports],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta("kube-dns", labels), "spec": spec}


def _deployment() -> Json:
    container = {
        "name": "coredns",
        "image": IMAGE,
        "ports": [
            {"containerPort": 53, "name": "dns", "protocol": "UDP"},
            {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
            {"containerPort": 9153, "name": "metrics", "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": 8080},
            "initialDelaySeconds": 60,
            "timeoutSeconds": 5,
            "failureThreshold": 5,
        },
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
    }
    here = {"labelSelector": {"matchLabels": LABELS}, "topologyKey": "kubernetes.io/hostname"}
    apart = [{"weight": 100, "podAffinityTerm": here}]
    pod = {
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": apart}},
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
    }
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": LABELS}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta("coredns", LABELS), "spec": spec}
