"""Services, EndpointSlices, Namespaces and Pods → records.

Kubernetes DNS-Based Service Discovery, version 1.1.0 (https://github.com/kubernetes/dns/blob/master/docs/specification.md);
where it leaves room, as CoreDNS' kubernetes plugin does. Objects are JSON trees as the API server sends them.
Pure: no sockets, no clock. One changed object costs what its own Service's records cost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from .names import Names, Record, Records

Json = dict[str, Any]
Key = tuple[str, str]  # namespace, name
SCHEMA_VERSION, SCHEMA_TTL = "1.1.0", 28800
SERVICE_OF_SLICE = "kubernetes.io/service-name"
KUBE_DNS = ("kube-system", "kube-dns")


class ClusterNames:
    """The cluster's zone, kept up to date object by object. `pods`: disabled, insecure or verified."""

    def __init__(self, zone: str = "cluster.local", pods: str = "insecure") -> None:
        self.zone, self.pods = zone, pods
        self.names = Names()
        self._services: dict[Key, Json] = {}
        self._slices: dict[Key, dict[str, Json]] = {}  # by Service, then by slice
        self._service_of: dict[Key, str] = {}  # of a slice
        self.names.put("zone", zone_records(zone, pods, None))

    def apply(self, kind: str, obj: Json, *, deleted: bool = False) -> bool:
        """Take one object's new state. False if no record changed by it. Unknown kinds change nothing."""
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        if kind == "Service":
            if deleted:
                self._services.pop(key, None)
            else:
                self._services[key] = obj
            return self._service_changed(key)
        if kind == "EndpointSlice":
            return self._slice_changed(key, meta.get("labels", {}).get(SERVICE_OF_SLICE), None if deleted else obj)
        if kind == "Namespace":
            return self.names.put(("ns", meta["name"]), {} if deleted else self._namespace(meta["name"]))
        if kind == "Pod" and self.pods == "verified":
            return self.names.put(("pod", *key), {} if deleted else pod_records(self.zone, obj))
        return False

    def _namespace(self, name: str) -> Records:
        kinds = ("svc",) if self.pods == "disabled" else ("svc", "pod")
        return {f"{name}.{kind}.{self.zone}": () for kind in kinds}

    def _slice_changed(self, key: Key, service: str | None, obj: Json | None) -> bool:
        before = self._service_of.pop(key, None)
        if obj is not None and service is not None:
            self._service_of[key] = service
            self._slices.setdefault((key[0], service), {})[key[1]] = obj
        if before is not None and before != self._service_of.get(key):
            of_before = self._slices[key[0], before]
            del of_before[key[1]]
            if not of_before:
                del self._slices[key[0], before]
        changed = [self._service_changed((key[0], name)) for name in {before, service} if name is not None]
        return any(changed)

    def _service_changed(self, key: Key) -> bool:
        service = self._services.get(key)
        slices = self._slices.get(key, {}).values()
        changed = self.names.put(("svc", *key), service_records(self.zone, service, slices) if service else {})
        if key == KUBE_DNS:
            changed |= self.names.put("zone", zone_records(self.zone, self.pods, service))
        return changed


def zone_records(zone: str, pods: str, kube_dns: Json | None) -> Records:
    """The apex and what is always there (specification 2.2: dns-version). SOA is made by the answerer."""
    records: dict[str, list[Record]] = {zone: [], f"svc.{zone}": [], f"pod.{zone}": []}
    records[f"dns-version.{zone}"] = [Record("TXT", SCHEMA_VERSION, SCHEMA_TTL)]
    if kube_dns is None:
        records[zone].append(Record("NS", f"ns.dns.{zone}"))
        records[f"ns.dns.{zone}"] = []
    else:
        records[zone].append(Record("NS", f"{KUBE_DNS[1]}.{KUBE_DNS[0]}.svc.{zone}"))
        records[f"ns.dns.{zone}"] = [address_record(ip) for ip in cluster_ips(kube_dns)]
    return records


def service_records(zone: str, service: Json, slices: Iterable[Json]) -> Records:
    """All records of one Service: 2.3 (ClusterIP), 2.4 (headless) or 2.5 (ExternalName) of the specification."""
    meta, spec = service["metadata"], service.get("spec", {})
    base = f"{meta['name']}.{meta['namespace']}.svc.{zone}"
    if spec.get("type") == "ExternalName":
        return {base: [Record("CNAME", spec.get("externalName", "").rstrip(".").lower())]}
    not_ready = bool(spec.get("publishNotReadyAddresses"))
    ips = cluster_ips(service)
    records: dict[str, list[Record]] = {}
    if ips:
        targets = [(base, ip) for ip in ips]
        records[base] = [address_record(ip) for ip in ips]
        _add_srv(records, base, [(p, n) for p in spec.get("ports", ()) for n in targets])
        for ip in ips:
            records[reverse(ip)] = [Record("PTR", base)]
    found: list[tuple[Json, tuple[str, str]]] = []
    for name, ip, ports in _endpoints(slices, not_ready):
        host = f"{name}.{base}"
        records.setdefault(host, []).append(address_record(ip))
        records.setdefault(reverse(ip), []).append(Record("PTR", host))
        if not ips:  # headless
            records.setdefault(base, []).append(address_record(ip))
            found += [(port, (host, ip)) for port in ports]
    _add_srv(records, base, found)
    return records


def pod_records(zone: str, pod: Json) -> Records:
    """`pods verified`: a name for each address of a pod that has one (2.6)."""
    status, namespace = pod.get("status", {}), pod["metadata"]["namespace"]
    if status.get("phase") in ("Succeeded", "Failed"):
        return {}
    ips = {entry["ip"] for entry in status.get("podIPs", ())} | ({status["podIP"]} if status.get("podIP") else set())
    return {f"{dashed(ip)}.{namespace}.pod.{zone}": [address_record(ip)] for ip in sorted(ips)}


def cluster_ips(service: Json) -> list[str]:
    """Empty for a headless Service."""
    spec = service.get("spec", {})
    ips = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    return [ip for ip in ips if ip and ip != "None"]


def address_record(ip: str) -> Record:
    """An A record for IPv4, an AAAA record for IPv6."""
    return Record("AAAA" if ":" in ip else "A", ip)


def dashed(ip: str) -> str:
    """10-244-1-7 for 10.244.1.7."""
    return ip.replace(".", "-").replace(":", "-")


def undashed(label: str) -> IPv4Address | IPv6Address | None:
    """`10-244-1-2` → 10.244.1.2, `2001-db8--1` → 2001:db8::1, anything else None (a scope, `fe80--1%eth0`, too)."""
    if "%" in label:
        return None
    dotted = label.count("-") == 3 and "--" not in label
    try:
        return ip_address(label.replace("-", "." if dotted else ":"))
    except ValueError:
        return None


@functools.lru_cache(4096)  # half the cost of a changed slice, and nearly all of its addresses are known
def reverse(ip: str) -> str:
    """10.96.0.10 → 10.0.96.10.in-addr.arpa"""
    return ip_address(ip).reverse_pointer


def _endpoints(slices: Iterable[Json], not_ready: bool) -> Iterator[tuple[str, str, list[Json]]]:
    """(label, address, ports) of each ready endpoint; the label is its hostname or else its dashed address (2.1)."""
    for slice_ in slices:
        if slice_.get("addressType") == "FQDN":
            continue
        for endpoint in slice_.get("endpoints") or ():
            if not_ready or endpoint.get("conditions", {}).get("ready") is not False:
                for ip in endpoint.get("addresses") or ():
                    yield endpoint.get("hostname") or dashed(ip), ip, slice_.get("ports") or []


def _add_srv(records: dict[str, list[Record]], base: str, found: list[tuple[Json, tuple[str, str]]]) -> None:
    """2.3.2, 2.4.2: `_port._proto` names for named ports; and CoreDNS' choice, all ports at the Service's own name.

    The weight is 100 shared out over the addresses, as CoreDNS does.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    for port, (target, _) in found:
        if not port.get("port"):
            continue
        if port.get("name"):
            label = f"_{port['name']}._{port.get('protocol', 'TCP')}".lower()
            groups.setdefault(f"{label}.{base}", []).append((port["port"], target))
        groups.setdefault(base, []).append((port["port"], target))
    for name, entries in groups.items():
        weight = max(1, 100 // len(entries))
        records.setdefault(name, []).extend(Record("SRV", (0, weight, p, t)) for p, t in dict.fromkeys(entries))
