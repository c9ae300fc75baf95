"""Which Kubernetes object a rule was written for, by what the rule itself says. Pure.

kube-proxy's iptables rules name their Service in a comment, its nftables chains in their own name; our policy rules
name their NetworkPolicies in comments.
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r'--comment (?:"([^"]*)"|(\S+))|comment "([^"]*)"')
_NAMED = re.compile(r"([a-z0-9][a-z0-9-]*)/([a-z0-9][a-z0-9.-]*)")
_NFT_CHAIN = re.compile(r"^(?:service|local|external|firewall|endpoint)-[A-Z2-7]{8}-([^/]+)/([^/]+)/")
_POLICY_CHAINS = ("KUBE-PODIN-", "KUBE-PODOUT-")
_SERVICE_CHAINS = ("KUBE-SERVICES", "KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-NODEPORTS")
_SERVICE_TOO = ("KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL")
POLICY_CHAINS = ("KUBE-NWPLCY", *_POLICY_CHAINS)


def comment(rule: str) -> str:
    """The rule's comment, or ""."""
    found = _COMMENT.search(rule)
    return next(filter(None, found.groups()), "") if found else ""


def written_for(chain: str, rule: str, target: str = "") -> str:
    """`Service default/web`, `NetworkPolicy shop/deny` (several with commas), or "" for what serves all."""
    said = comment(rule)
    if chain.startswith(_POLICY_CHAINS):
        policies = dict.fromkeys("/".join(pair) for pair in _NAMED.findall(said))
        return f"NetworkPolicy {', '.join(policies)}" if policies else ""
    if found := _NFT_CHAIN.match(target) or _NFT_CHAIN.match(chain):
        return f"Service {found[1]}/{found[2]}"
    if chain.startswith((*_SERVICE_CHAINS, *_SERVICE_TOO)) and (named := _NAMED.search(said)):
        return f"Service {named[1]}/{named[2]}"
    return ""
