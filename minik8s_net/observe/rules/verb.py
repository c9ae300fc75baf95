"""The verb "explain-rule": {"rule": "KUBE-SEP-…", "node": "node-1"} -> RuleOrigins, lines of YAML not yet looked up."""

from __future__ import annotations

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ...api.errors import StatusError, bad_request
from ...boot.live import Live
from ...policy import model as policy_model
from ...policy import render as policy_render
from ...policy import table as policy_table
from ...proxy import iptables, nftables
from ...proxy.model import SERVICE_NAME, ServicePort
from ...proxy.rules import Rules
from ..trace.provenance import comment
from .field import of_policy, of_service
from .model import Json, Origin, RuleOrigins, Source, Told
from .search import Written, matching, of_policies, of_proxy
from .source import line_of, written_at

MOST = 40
RENDERERS = (iptables, nftables)
POLICIES = (policy_render, policy_table)


async def explain_rule(live: Live, asked: Json) -> Json:
    """Raises StatusError: 400 for an empty question or one that too much fits, 404 for what we did not write."""
    text, node = str(asked.get("rule") or "").strip(), asked.get("node")
    if not text:
        raise bad_request("which rule? Give a chain (KUBE-SEP-…), a line of iptables-save or nft, or a part of one")
    nodes = live.nodes.names()
    if node and node not in nodes:
        raise StatusError(404, "NotFound", f'nodes "{node}" not found; there are: {", ".join(nodes)}')
    found = matching(text, [w for name in ([str(node)] if node else nodes) for w in _written(live, name)])
    same: dict[tuple[str, str, str], list[Written]] = {}
    for w in found:
        same.setdefault((w.place, w.rule, w.part), []).append(w)
    if not same:
        look = "iptables-save" if live.config.proxy_mode == "iptables" else "nft list ruleset ip"
        raise StatusError(404, "NotFound", f"no rule that minik8s wrote holds {text!r}; what there is: "
                                           f"minik8s shell node-1 -- {look}")  # fmt: skip
    if len(same) > MOST:
        raise bad_request(f"{len(same)} rules hold {text!r}: say more of the one you mean, or its chain")
    return RuleOrigins(text, [_told(live, group) for group in same.values()]).to_dict()


def _written(live: Live, node: str) -> list[Written]:
    agents = live.nodes.agents(node)
    cidr = str(live.config.node_pod_cidr(live.config.node_index(node)))
    return [*of_proxy(node, agents.proxier), *of_policies(node, agents.enforcer, cidr)]


def _told(live: Live, group: list[Written]) -> Told:
    w = group[0]
    if w.part == "base":
        origins: list[Origin] = []
        source = _constant(w)
    elif w.agent == "proxy":
        origins, source = _service(live, w)
    else:
        origins, source = _policy(live, w)
    return Told([each.node for each in group], w.place, w.rule, origins, source)


def _constant(w: Written) -> Source | None:
    modules = (policy_render,) if w.agent == "policy" else RENDERERS[:: 1 if w.table in ("nat", "filter") else -1]
    pieces = (comment(w.rule), w.rule, w.chain)
    return next((s for piece in pieces for module in modules if piece and (s := written_at(module, piece))), None)


def _service(live: Live, w: Written) -> tuple[list[Origin], Source | None]:
    namespace, _, name = w.part.partition("/")
    proxier = live.nodes.agents(w.node).proxier
    service = live.client.find(Service, name, namespace)
    ports = proxier.ports_of(w.part)
    index, port = next(((i, p) for i, p in enumerate(ports) if _holds(proxier.render([p]), w)), (0, None))
    if service is None or port is None:  # it has gone, and the proxy does not know yet
        return [Origin("Service", namespace, name, "metadata.name")], None
    slices = live.client.list(EndpointSlice, namespace, {SERVICE_NAME: name})
    forms = (w.rule, w.key) if w.key else (w.rule,)
    source = line_of(lambda: proxier.render([port]), forms, RENDERERS)
    return of_service(w, port, _api_index(port, index, service), service, slices), source


def _holds(rules: Rules, w: Written) -> bool:
    if w.rule in rules.chains.get((w.table, w.chain), ()):
        return True
    entries = rules.entries
    return (w.table, w.chain, w.rule) in entries or any(
        f"{k} {v}".strip() == w.rule for m, k, v in entries if m == w.chain
    )


def _api_index(port: ServicePort, index: int, service: Service) -> int:
    ports = (service.spec.ports if service.spec else None) or []
    mine = (i for i, p in enumerate(ports) if (p.name or "") == port.port_name and p.port == port.port)
    return next(mine, index)


def _policy(live: Live, w: Written) -> tuple[list[Origin], Source | None]:
    namespace, _, name = w.part.partition("/")
    index = live.policies
    pod = index.pods.get((namespace, name))
    if pod is None:
        return [], None
    policies = index.policies_of(pod)
    direction: policy_model.Direction = "Egress" if "OUT" in w.chain else "Ingress"
    selecting = [(p.namespace, p.name) for p in policies if p.rules(direction) is not None]
    source = line_of(lambda: policy_table.Program.of(pod, policies), (w.rule,), POLICIES)
    return of_policy(w, selecting), source
