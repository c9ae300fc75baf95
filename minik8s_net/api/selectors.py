"""Label and field selectors: who is meant.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minik8s_net.api.errors import StatusError, bad_request
from minik8s_net.api.kinds import Kind

Json = dict[str, Any]
Predicate = Callable[[Json], bool]


@dataclass(frozen=True)
class Requirement:
    """One condition on one label. `operator`: In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """NotIn and DoesNotExist hold where the label is missing."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        try:
            mine, limit = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return mine > limit if self.operator == "Gt" else mine < limit


@dataclass(frozen=True)
class LabelSelection:
    """All requirements must hold; none means everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether these labels fulfil every requirement."""
        return all(r.matches(labels or {}) for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(_print(r) for r in self.requirements)


def _print(r: Requirement) -> str:
    values = ",".join(sorted(r.values))
    simple = {
        "Exists": r.key,
        "DoesNotExist": f"!{r.key}",
        "Gt": f"{r.key}>{values}",
        "Lt": f"{r.key}<{values}",
    }
    if r.operator == "In" and len(r.values) == 1:
        return f"{r.key}={values}"
    return simple.get(r.operator) or f"{r.key} {'in' if r.operator == 'In' else 'notin'} ({values})"


def from_selector(selector: Any) -> LabelSelection:
    """A metav1.LabelSelector, as a JSON tree or typed. None selects nothing: ask before calling; {} selects all."""
    labels = _read(selector, "matchLabels") or {}
    found = [Requirement(k, "In", frozenset((v,))) for k, v in labels.items()]
    for term in _read(selector, "matchExpressions") or ():
        values = frozenset(_read(term, "values") or ())
        found.append(Requirement(str(_read(term, "key")), str(_read(term, "operator")), values))
    return LabelSelection(tuple(found))


def _read(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def matches(selector: Any, labels: Mapping[str, str] | None) -> bool:
    """Does a LabelSelector (JSON or typed) select these labels? An empty selector selects all, None nothing."""
    return selector is not None and from_selector(selector).matches(labels)


# -- the text form -------------------------------------------------------------------------------------------------
_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}


def parse_labels(text: str | None) -> LabelSelection:
    """`app=x,tier in (a,b),!old` (labelSelector=…). Raises StatusError 400, worded as Kubernetes does."""
    if not text or not text.strip():
        return LabelSelection()
    tokens = _TOKEN.findall(text)
    found, at = [], 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        found.append(requirement)
        if at < len(tokens):
            if tokens[at] != ",":
                raise _unparsable(f"found '{tokens[at]}', expected: ',' or 'end of string'")
            at += 1
            if at == len(tokens):
                raise _unparsable("found '', expected: identifier after ','")
    return LabelSelection(tuple(sorted(found, key=lambda r: r.key)))


def _unparsable(why: str) -> StatusError:
    return bad_request(f"unable to parse requirement: {why}")


def _requirement(tokens: list[str], at: int) -> tuple[Requirement, int]:
    negated = tokens[at] == "!"
    at += negated
    key = tokens[at] if at < len(tokens) else ""
    if not key or key in ("=", "==", "!=", ",", "(", ")", "<", ">"):
        raise _unparsable(f"found '{key}', expected: !, identifier, or 'end of string'")
    _check_key(key)
    at += 1
    follows = tokens[at] if at < len(tokens) else ","
    if follows == ",":
        return Requirement(key, "DoesNotExist" if negated else "Exists"), at
    if negated:
        raise _unparsable(f"found '{follows}', expected: ',' or 'end of string'")
    if follows in ("in", "notin"):
        values, at = _values(tokens, at + 1)
        return Requirement(key, "In" if follows == "in" else "NotIn", values), at
    if follows not in _OPERATORS:
        raise _unparsable(f"found '{follows}', expected: in, notin, =, ==, !=, gt, lt")
    value = tokens[at + 1] if at + 1 < len(tokens) and tokens[at + 1] != "," else ""
    if value in _OPERATORS or value in ("(", ")", "!"):
        raise _unparsable(f"found '{value}', expected: identifier")
    _check_value(key, value)
    if follows in "<>" and not re.fullmatch(r"-?[0-9]+", value):
        detail = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise bad_request(f'values[0][{key}]: Invalid value: "{value}": {detail}')
    return Requirement(key, _OPERATORS[follows], frozenset((value,))), at + 1 + bool(value)


def _values(tokens: list[str], at: int) -> tuple[frozenset[str], int]:
    if at >= len(tokens) or tokens[at] != "(":
        raise _unparsable(f"found '{tokens[at] if at < len(tokens) else ''}' expected: '('")
    end = next((i for i in range(at, len(tokens)) if tokens[i] == ")"), None)
    if end is None:
        raise _unparsable("found '', expected: ',', or ')'")
    values = [t for t in tokens[at + 1 : end] if t != ","]
    for value in values:
        _check_value("", value)
    return frozenset(values or [""]), end + 1


def _check_key(key: str) -> None:
    from minik8s_net.api.validation.names import qualified_name

    if wrong := qualified_name(key):
        raise _unparsable(f'key: Invalid value: "{key}": {"; ".join(wrong)}')


def _check_value(key: str, value: str) -> None:
    from minik8s_net.api.validation.names import label_value

    if wrong := label_value(value):
        raise _unparsable(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(wrong)}')


# -- field selectors ------------------------------------------------------------------------------------------------
_EVERY = ("metadata.name", "metadata.namespace")
FIELDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
                  "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"),
    ("", "Node"): ("spec.unschedulable",),
    ("", "Namespace"): ("status.phase",),
    ("", "Service"): ("spec.clusterIP", "spec.type"),
    ("", "Secret"): ("type",),
    ("", "ReplicationController"): ("status.replicas",),
    ("apps", "ReplicaSet"): ("status.replicas",),
    ("batch", "Job"): ("status.successful",),
    ("", "Event"): ("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
                    "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
                    "reason", "reportingComponent", "source", "type"),
    ("certificates.k8s.io", "CertificateSigningRequest"): ("spec.signerName",),
}  # fmt: skip
FIELDS["events.k8s.io", "Event"] = (
    *FIELDS["", "Event"],
    "regarding.kind",
    "regarding.name",
    "regarding.namespace",
    "regarding.uid",
)


def parse_fields(kind: Kind, text: str | None) -> Predicate:
    """`status.phase!=Running,metadata.name=x` (fieldSelector=…) to a predicate on trees. Raises StatusError 400."""
    terms: list[tuple[str, bool, str]] = []
    for term in filter(None, re.split(r"(?<!\\),", text or "")):
        match = re.fullmatch(r"(.*?)(!=|==|=)(.*)", term, re.DOTALL)
        if not match:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        field, operator, value = match.groups()
        if field not in _EVERY and field not in FIELDS.get((kind.group, kind.kind), ()):
            raise bad_request(_not_selectable(kind, field))
        terms.append((field, operator != "!=", re.sub(r"\\([,=\\])", r"\1", value)))
    return lambda tree: all((field_value(tree, f) == v) == equal for f, equal, v in terms)


def _not_selectable(kind: Kind, field: str) -> str:
    """Each kind's own words."""
    if (kind.group, kind.kind) == ("batch", "Job"):
        return f'field label "{field}" not supported for Job'
    if (kind.group, kind.kind) in FIELDS:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def field_value(tree: Json, path: str) -> str:
    """A field as a selector sees it: text, "" where absent, `true`/`false` for flags."""
    if path == "source":
        return str(tree.get("source", {}).get("component", "") or tree.get("reportingComponent", ""))
    if path == "status.successful":
        path = "status.succeeded"
    node: Any = tree
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    if path in ("spec.unschedulable", "spec.hostNetwork"):
        return "true" if node else "false"
    if path in ("status.replicas", "status.succeeded"):
        return str(node or 0)
    return "" if node is None else str(node)
