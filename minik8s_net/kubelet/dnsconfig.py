"""A pod's names for itself and for others: hostname, /etc/resolv.conf and /etc/hosts, as text. Pure.

https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/
"""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod

from ..config import ClusterConfig

MAX_NAMESERVERS, MAX_SEARCHES = 3, 32  # validation's own limits
MAX_HOSTNAME = 64  # sethostname(2)
_HOSTS = """# Kubernetes-managed hosts file{how}.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hostname(pod: Pod, node: str, domain: str) -> str:
    """What `hostname` prints inside: spec.hostname, else the pod's name; of a hostNetwork pod the node's.

    Raises ValueError for a setHostnameAsFQDN that the kernel has no room for.
    """
    spec, meta = pod.spec, pod.metadata
    assert spec and meta and meta.name
    if spec.hostNetwork:
        return node
    short = (spec.hostname or meta.name)[:63].rstrip("-.")
    if not (spec.setHostnameAsFQDN and spec.subdomain):
        return short
    full = _fqdn_of(pod, short, domain)
    if len(full) > MAX_HOSTNAME:
        limits = f"({MAX_HOSTNAME} characters is the max, {len(full)} characters requested)"
        raise ValueError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long {limits}"
        )
    return full


def _fqdn_of(pod: Pod, short: str, domain: str) -> str:
    assert pod.spec and pod.metadata
    return f"{short}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}"


def resolv_conf(pod: Pod, config: ClusterConfig) -> str:
    """The nodes themselves resolve nothing outside the cluster, so that dnsPolicy Default has no nameserver."""
    spec, meta = pod.spec, pod.metadata
    assert spec and meta
    policy = spec.dnsPolicy or "ClusterFirst"
    if policy == "ClusterFirst" and spec.hostNetwork:
        policy = "Default"
    nameservers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        domain = config.cluster_domain
        nameservers = [str(config.dns_ip)]
        searches = [f"{meta.namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "5"}
    if extra := spec.dnsConfig:
        nameservers = list(dict.fromkeys([*nameservers, *(extra.nameservers or ())]))
        searches = list(dict.fromkeys([*searches, *(extra.searches or ())]))
        options.update({o.name or "": o.value for o in extra.options or ()})
    lines = [f"search {' '.join(searches[:MAX_SEARCHES])}"] if searches else []
    lines += [f"nameserver {address}" for address in nameservers[:MAX_NAMESERVERS]]
    if options:
        lines.append("options " + " ".join(f"{k}:{v}" if v else k for k, v in options.items()))
    return "".join(line + "\n" for line in lines)


def hosts(pod: Pod, address: str, domain: str) -> str:
    """/etc/hosts: the well-known part, the pod itself (not on the host network), hostAliases."""
    spec, meta = pod.spec, pod.metadata
    assert spec and meta and meta.name
    text = _HOSTS.format(how=" (host network)" if spec.hostNetwork else "")
    if not spec.hostNetwork and address:
        short = (spec.hostname or meta.name)[:63].rstrip("-.")
        names = [_fqdn_of(pod, short, domain), short] if spec.subdomain else [short]
        text += address + "\t" + "\t".join(names) + "\n"
    if spec.hostAliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join([a.ip, *(a.hostnames or ())]) + "\n" for a in spec.hostAliases)
    return text
