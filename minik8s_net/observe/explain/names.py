"""First rung: the name. Which Service it means, whether DNS may be asked, and whether it answers."""

from __future__ import annotations

import asyncio
import difflib

from lightkube.resources.core_v1 import Pod, Service

from ...boot.live import Live
from ...policy.evaluate import Endpoint, evaluate
from ...policy.model import PodFacts
from ..resolve import resolve
from .model import Cause, Step

DNS = ("kube-system", "kube-dns")
DNS_PODS = {"k8s-app": "kube-dns"}
SLOW = 400.0  # milliseconds; a healthy answer takes one or two
LOOKS, PAUSE = 3, 0.2  # seconds between them
Found = tuple[list[Step], Cause | None]


def service_of(live: Live, name: str, namespace: str) -> tuple[str, str] | None:
    """(namespace, name) of the Service that a DNS name means from a pod of `namespace`, whether it exists or not.

    None for names of another shape: a host outside, or a pod's own name behind a headless Service.
    """
    parts = name.rstrip(".").removesuffix(f".{live.config.cluster_domain}").split(".")
    if len(parts) == 1:
        return namespace, parts[0]
    if len(parts) == 2 or (len(parts) == 3 and parts[2] == "svc"):
        return parts[1], parts[0]
    return None


def no_such_service(live: Live, namespace: str, name: str) -> Cause:
    """With the nearest name there is, here or elsewhere."""
    there = {(s.metadata.namespace or "", s.metadata.name or "") for s in live.client.list(Service) if s.metadata}
    elsewhere = sorted(ns for ns, n in there if n == name)
    near = difflib.get_close_matches(name, [n for ns, n in there if ns == namespace], 1)
    hint = f"there is one in {', '.join(elsewhere)}: ask for {name}.{elsewhere[0]}" if elsewhere else ""
    hint = hint or (f"did you mean {near[0]}?" if near else f"see: kubectl get services -n {namespace}")
    said = f"there is no Service {name} in namespace {namespace}, so the name is NXDOMAIN"
    return Cause("name", f"Service {namespace}/{name}", said, hint)


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
            policy = next((f.policy for f in side.findings if f.policy in side.why), "")
            said = f"the pod may not ask DNS: {side.why}"
            mend = "allow egress to kube-system, UDP and TCP port 53"
            question = "do policies let it ask DNS?"
            step = Step(question, False, side.why, f"NetworkPolicy {policy}")
            return [step], Cause("dns-policy", f"NetworkPolicy {policy}", said, mend)
    return [Step("do policies let it ask DNS?", True, "UDP 53 to the DNS pods is allowed")], None


async def asked(live: Live, source: str, namespace: str, name: str) -> Found:
    """A real question, down the search path, from the pod."""
    question = {"source": source, "namespace": namespace, "type": "A"}
    for _ in range(LOOKS):  # one that is slow is not slow at every moment
        told = await resolve(live, {**question, "name": name})
        if not told["searches"] and (meant := service_of(live, name, namespace)):  # its resolv.conf can't be looked at
            full = f"{meant[1]}.{meant[0]}.svc.{live.config.cluster_domain}."
            told = await resolve(live, {**question, "name": full})
        if any(q["rcode"] is None or (q["milliseconds"] or 0) > SLOW for q in told["questions"]):
            break
        await asyncio.sleep(PAUSE)
    asks, last = f"does {name} resolve?", told["questions"][-1]
    tried = f"{len(told['questions'])} of its search path tried, last {last['name']}"
    if last["rcode"] is None:
        why = last["error"] or "no answer"
        said = f"nobody answers at {last['server']} ({why})"
        return [Step(asks, False, said, "Service kube-system/kube-dns")], Cause(
            "dns-dead", "Service kube-system/kube-dns", f"{said}: DNS does not work for this pod",
            "kubectl -n kube-system get pods -o wide; kubectl -n kube-system rollout restart deploy coredns",
        )  # fmt: skip
    slowest = max(q["milliseconds"] or 0 for q in told["questions"])
    if not last["answers"] and last["rcode"] not in (0, "NOERROR"):
        said = f"{last['rcode']} for {name} ({tried})"
        return [Step(asks, False, said)], Cause("name", name, said, "is it spelt right? See: kubectl get services")
    if slowest > SLOW:
        said = f"an answer took {slowest:.0f} ms"
        return [Step(asks, False, said, "Service kube-system/kube-dns")], Cause(
            "dns-slow", "Service kube-system/kube-dns", f"DNS is slow: {said}",
            "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide: is one of them busy or stopped?",
        )  # fmt: skip
    values = ", ".join(str(value) for _, value in last["answers"]) or "no address"
    return [Step(asks, True, f"{last['name']}: {values}")], None
