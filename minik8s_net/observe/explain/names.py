"""First rung: the name. Which Service it means, whether DNS may be asked, and whether it answers."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import dataclass, field

from lightkube.resources.core_v1 import Namespace, Pod, Service

from ...boot.live import Live
from ...policy.evaluate import Endpoint, evaluate
from ...policy.model import PodFacts
from ..resolve import Json, resolve
from ..trace.names import UNKNOWING
from .model import FAULT, Cause, Step

DNS = ("kube-system", "kube-dns")
DNS_PODS = {"k8s-app": "kube-dns"}
SLOW = 400.0  # milliseconds; a healthy answer takes one or two
LOOKS, PAUSE = 3, 0.2  # seconds between them
Found = tuple[list[Step], Cause | None]


@dataclass
class Answered:
    """What DNS said: the name it said it of, and its addresses."""

    steps: list[Step] = field(default_factory=list)
    cause: Cause | None = None
    name: str = ""
    addresses: list[str] = field(default_factory=list)


def service_of(live: Live, name: str, namespace: str) -> tuple[str, str] | None:
    """(namespace, name) of the Service that a DNS name means from a pod of `namespace`, whether it exists or not.

    None where that is not said by the name alone, and DNS has to speak: a host outside, or a pod behind a headless
    Service.
    """
    whole = name.endswith(".")  # then no search path is tried
    if parts := _in_cluster(live, name.rstrip(".")):
        return parts
    labels = name.rstrip(".").split(".")
    if whole or len(labels) > 3:
        return None
    if len(labels) == 1:
        return namespace, labels[0]
    if len(labels) == 3:
        return (labels[1], labels[0]) if labels[2] == "svc" else None
    if live.client.find(Namespace, labels[1]) is None:
        return None
    here, there = live.client.find(Service, labels[1], namespace), live.client.find(Service, labels[0], labels[1])
    return (labels[1], labels[0]) if there or not here else None  # else a pod's hostname behind a Service here


def _in_cluster(live: Live, full: str) -> tuple[str, str] | None:
    """(namespace, name) where `full` is the whole name of a Service."""
    labels = full.removesuffix(f".svc.{live.config.cluster_domain}").split(".")
    return (labels[1], labels[0]) if len(labels) == 2 and full.endswith(live.config.cluster_domain) else None


def answering(live: Live, full: str) -> Service | None:
    """The Service whose name an answer was about."""
    meant = _in_cluster(live, full)
    return live.client.find(Service, meant[1], meant[0]) if meant else None


def no_server(who: str, host: str, is_pod: bool) -> Cause:
    """Of a place without a nameserver."""
    if not is_pod:
        said = f"{who} knows no cluster names: it is no pod, and has no nameserver"
        return Cause("name", who, said, f"ask from a pod, or give an address, or svc/{host.partition('.')[0]}")
    said = f"{who} has no nameserver in /etc/resolv.conf, and so no names"
    mend = "a pod gets one by dnsPolicy: ClusterFirst, on the host network ClusterFirstWithHostNet; or give an address"
    return Cause("name", f"Pod {who}", said, mend)


def no_such_service(live: Live, namespace: str, name: str) -> Cause:
    """With the nearest name there is, here or elsewhere."""
    there = {(s.metadata.namespace or "", s.metadata.name or "") for s in live.client.list(Service) if s.metadata}
    elsewhere = sorted(ns for ns, n in there if n == name)
    near = difflib.get_close_matches(name, [n for ns, n in there if ns == namespace], 1)
    hint = f"there is one in {', '.join(elsewhere)}: ask for {name}.{elsewhere[0]}" if elsewhere else ""
    hint = hint or (f"did you mean {near[0]}?" if near else f"see: kubectl get services -n {namespace}")
    said = f"there is no Service {name} in namespace {namespace}, so the name is NXDOMAIN"
    return Cause("name", f"Service {namespace}/{name}", said, hint)


def no_dns_service(live: Live) -> Cause:
    """The address that every pod's resolv.conf names is nobody's."""
    word = "/".join(DNS)
    said = (
        f"there is no Service {DNS[1]} in {DNS[0]}: nobody has the address {live.config.dns_ip} that pods ask for names"
    )
    return Cause("dns-dead", f"Service {word}", said, "put it back: minik8s up (it makes what is missing of the DNS)")


def dns_allowed(live: Live, source: PodFacts | None) -> Found:
    """Do the policies let the source ask the DNS pods?"""
    if source is None:
        return [], None
    for pod in live.client.list(Pod, "kube-system", labels=DNS_PODS):
        facts = live.policies.pods.get(("kube-system", (pod.metadata.name if pod.metadata else "") or ""))
        if facts is None:
            continue
        ends = Endpoint(source.ip, source), Endpoint(facts.ip, facts)
        verdict = evaluate(live.policies.objects.values(), live.policies.namespaces, *ends, 53, "UDP")
        if not verdict.allowed:
            side = verdict.egress if not verdict.egress.allowed else verdict.ingress
            policy = side.isolating[0]
            said = f"the pod may not ask DNS: {side.why}"
            mend = "allow egress to kube-system, UDP and TCP port 53"
            if verdict.egress.allowed:
                mend = f"allow ingress to the DNS pods, UDP and TCP port 53, from this pod's namespace: policy {policy}"
            question = "do policies let it ask DNS?"
            step = Step(question, False, side.why, f"NetworkPolicy {policy}")
            return [step], Cause("dns-policy", f"NetworkPolicy {policy}", said, mend)
    return [Step("do policies let it ask DNS?", True, "UDP 53 to the DNS pods is allowed")], None


async def asked(live: Live, source: str, namespace: str, name: str) -> Answered:
    """A real question, down the search path, from the pod."""
    question = {"source": source, "namespace": namespace, "type": "A"}
    for _ in range(LOOKS):  # one that is slow is not slow at every moment
        told = await resolve(live, {**question, "name": name})
        if any(q["rcode"] is None or (q["milliseconds"] or 0) > SLOW for q in told["questions"]):
            break
        await asyncio.sleep(PAUSE)
    asks, last = f"does {name} resolve?", told["questions"][-1]
    tries = len(told["questions"])
    tried = f"{tries} of its search path tried, last {last['name']}" if tries > 1 else f"asked for {last['name']}"
    if last["rcode"] is None:
        why = last["error"] or "no answer"
        said = f"nobody answers at {last['server']} ({why})"
        return Answered([Step(asks, False, said, "Service kube-system/kube-dns")], Cause(
            "dns-dead", "Service kube-system/kube-dns", f"{said}: DNS does not work for this pod",
            "kubectl -n kube-system get pods -o wide; kubectl -n kube-system rollout restart deploy coredns; " + FAULT,
        ))  # fmt: skip
    if silent := next((q for q in told["questions"] if q["rcode"] is None), None):
        said = (
            f"nameserver {silent['server']} does not answer ({silent['error'] or 'no answer'}); {last['server']} does"
        )
        step = Step(asks, bool(last["answers"]), said)
        if last["answers"]:
            return Answered([step], Cause(
                "dns-slow", f"Pod {source}", f"{said}, after a wait at every name",
                f"take {silent['server']} out of the pod's nameservers, or mend it; {FAULT}",
            ), last["name"], [value for kind, value in last["answers"] if kind == "A"])  # fmt: skip
    slowest = max(q["milliseconds"] or 0 for q in told["questions"])
    if last["rcode"] in UNKNOWING:
        said = f"{last['server']} could not find out what {last['name']} is: {last['rcode']}"
        return Answered([Step(asks, False, said, "ConfigMap kube-system/coredns")], Cause(
            "dns-dead", "ConfigMap kube-system/coredns",
            f"{said} (a server that it forwards to is silent, or its Corefile is not taken)",
            "kubectl -n kube-system logs -l k8s-app=kube-dns; kubectl -n kube-system get configmap coredns -o yaml",
        ))  # fmt: skip
    addresses = [value for kind, value in last["answers"] if kind == "A"]
    alias = next((q for q in told["questions"] if q["answers"]), None)
    if not addresses and alias:  # the C library takes that for no answer, and goes on
        cause = _leads_nowhere(live, name, alias)
        return Answered([Step(asks, False, cause.sentence, cause.object)], cause)
    if not addresses:
        cause = _unknown(live, name, namespace, f"{last['rcode']} for {name} ({tried})")
        return Answered([Step(asks, False, cause.sentence)], cause)
    if slowest > SLOW:
        said = f"an answer took {slowest:.0f} ms"
        return Answered([Step(asks, False, said, "Service kube-system/kube-dns")], Cause(
            "dns-slow", "Service kube-system/kube-dns", f"DNS is slow: {said}",
            f"kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide: is one of them busy or stopped? {FAULT}",
        ), last["name"], addresses)  # fmt: skip
    values = ", ".join(str(value) for _, value in last["answers"])
    return Answered([Step(asks, True, f"{last['name']}: {values}")], None, last["name"], addresses)


def _unknown(live: Live, name: str, namespace: str, said: str) -> Cause:
    """No such name. With two labels a pod behind a Service, or a Service in a namespace, may have been meant."""
    labels = name.rstrip(".").split(".")
    metas = [s.metadata for s in live.client.list(Service) if s.metadata]
    there = [meta.namespace or "" for meta in metas if meta.name == labels[0]]
    if len(labels) == 2 and there and not live.client.find(Namespace, labels[1]):
        said = f"{said}: there is no namespace {labels[1]}, and a Service {labels[0]} in {', '.join(sorted(there))}"
        return Cause("name", f"Service {labels[1]}/{labels[0]}", said, f"ask for {labels[0]}.{min(there)}")
    if len(labels) == 2 and live.client.find(Service, labels[1], namespace):
        said = f"{said}: no pod behind Service {labels[1]} has the hostname {labels[0]}"
        return Cause("name", name, said, f"kubectl -n {namespace} get pods; behind it: minik8s dns POD {labels[1]}")
    more = "" if len(labels) == 1 else "; names outside the cluster are not known in it"
    return Cause("name", name, said, f"is it spelt right? See: kubectl get services -A{more}")


def _leads_nowhere(live: Live, name: str, last: Json) -> Cause:
    """An alias (ExternalName) of a name that has no address."""
    alias = str(last["answers"][-1][1]).rstrip(".")
    said = f"{name} is another name for {alias}, and that has no address"
    if not alias.endswith(live.config.cluster_domain):
        said += ": it is no name of the cluster, which has no way out"
    service = answering(live, last["name"])
    meta = service.metadata if service else None
    if meta is None:
        return Cause("name", name, said, "is that spelt right? See: kubectl get services")
    mend = f"spec.externalName: kubectl -n {meta.namespace} get service {meta.name} -o yaml"
    return Cause("name", f"Service {meta.namespace}/{meta.name}", said, mend)
