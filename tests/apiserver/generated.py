"""Requests made from the server's own OpenAPI documents: mostly sensible, often wrong in one place, seeded.

Every path, method and schema comes from /openapi/v3; values are of the schema's type, with accidents.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from minik8s_net.api import openapi

from .samples import KINDS, mutated, sample
from .serving import Api, Json

WORDS = [
    "a", "web", "", "x" * 64, "UPPER", "é", "a b", "10.0.0.1", "500m", "1Gi", "50%", "*/5 * * * *", "kubernetes.io/x",
    "TCP", "Always", "ClusterIP", "None", "\u0000", "2024-01-01T00:00:00Z", "Zm9v", "-1", "80",
]  # fmt: skip
NUMBERS = [0, 1, 80, -1, 65536, 2**31, 2**63, 1.5]
ACCIDENTS: list[Any] = [None, True, 0, -1, "x", [], {}, [None], {"a": None}, [{}], 2**70]
QUERIES = [
    "dryRun=All", "dryRun=Some", "fieldValidation=Strict", "fieldValidation=Warn", "fieldValidation=Loud", "limit=2",
    "limit=-1", "continue=AAAA", "labelSelector=app%3Da", "labelSelector=a%20in%20(", "fieldSelector=metadata.name%3Da",
    "fieldSelector=spec.x%3Dy", "resourceVersion=0", "resourceVersion=1&resourceVersionMatch=Exact",
    "resourceVersionMatch=NotOlderThan", "sendInitialEvents=true", "propagationPolicy=Orphan", "gracePeriodSeconds=0",
    "gracePeriodSeconds=x", "force=true", "fieldManager=fuzz", "fieldManager=%00", "includeObject=Object",
    "pretty=true", "watch=1&timeoutSeconds=1",
]  # fmt: skip
PATCHES = [f"application/{kind}" for kind in ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json")]
APPLY, JSON = "application/apply-patch+yaml", "application/json"
MEDIA = [*[JSON] * 12, "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", ""]
ACCEPT = [*[JSON] * 8, "*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/yaml", "text/html"]
SUBRESOURCES = ["status", "scale", "eviction", "binding", "token", "finalize", "resize", "ephemeralcontainers", "log"]
NAMES = ["a", "b", "c"]
DELETE_KEYS = ["gracePeriodSeconds", "propagationPolicy", "preconditions", "dryRun", "orphanDependents"]
POINTERS = ["/spec", "/metadata/labels", "/metadata/labels/a", "/spec/replicas", "/data/a", "", "x", "/spec/ports/0"]
OPERATIONS = ["add", "remove", "replace", "test", "move", "copy", "fly"]


@dataclass(frozen=True)
class Generated:
    """One request; `body` None for none."""

    method: str
    path: str
    body: str | None
    media: str
    accept: str


class Generator:
    """An endless, repeatable stream of requests."""

    def __init__(self, api: Api, seed: int) -> None:
        self.dice = random.Random(seed)
        self.schemas: dict[str, Json] = {}
        self.samples = {openapi.model_name(kind.model): kind for kind in KINDS}
        self.operations: list[tuple[str, str, str]] = []  # path template, method, schema
        for entry in api.get("/openapi/v3")["paths"].values():
            document = api.get(entry["serverRelativeURL"])
            self.schemas |= document["components"]["schemas"]
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
                    self.operations.append((path, method.upper(), answer["$ref"]))

    def __iter__(self) -> Iterator[Generated]:
        while True:
            yield self.request()

    def request(self) -> Generated:
        """The next one."""
        dice = self.dice
        template, method, schema = dice.choice(self.operations)
        if dice.random() < 0.05:
            method = dice.choice(["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
        name = quote(dice.choice([*NAMES, "é", ".."]), safe="")
        where = dice.choice(["default"] * 9 + ["nowhere"])
        path = template.replace("{namespace}", where).replace("{name}", name)
        if "{name}" in template and dice.random() < 0.2:
            path += f"/{dice.choice(SUBRESOURCES)}"
        queries = dice.sample(QUERIES[:-1], dice.choice([0, 0, 0, 1, 1, 2]))
        if method == "GET" and dice.random() < 0.01:
            queries.append(QUERIES[-1])
        body, media = self.body(method, schema)
        return Generated(method, path + ("?" + "&".join(queries) if queries else ""), body, media, dice.choice(ACCEPT))

    def body(self, method: str, schema: str) -> tuple[str | None, str]:
        """(text, media type) for a method."""
        dice = self.dice
        if method in ("GET", "HEAD", "OPTIONS") or (method == "DELETE" and dice.random() < 0.7):
            return None, JSON
        if method == "DELETE":
            options = {key: dice.choice([*ACCIDENTS, *WORDS]) for key in dice.sample(DELETE_KEYS, 2)}
            return json.dumps(options), dice.choice(MEDIA)
        tree = self.manifest(schema)
        if method == "PATCH":
            media = dice.choice([*PATCHES, APPLY, APPLY])
            return (self.json_patch() if media == PATCHES[0] else json.dumps(tree)), media
        text = json.dumps(tree)
        return (text[: dice.randint(0, len(text))] if dice.random() < 0.02 else text), dice.choice(MEDIA)

    def manifest(self, schema: str) -> Any:
        """A sample, a mutated sample, or something made from the schema alone; its name is one of a few."""
        dice, name = self.dice, schema.rpartition("/")[2]
        if name in self.samples and dice.random() < 0.7:
            tree: Any = sample(self.samples[name], "a")
            tree = mutated(tree, dice) if dice.random() < 0.6 else tree
        else:
            tree = self.value({"$ref": schema}, 0)
        if isinstance(tree, dict) and dice.random() < 0.95:
            meta = tree["metadata"] if isinstance(tree.get("metadata"), dict) else {}
            tree["metadata"] = {**meta, "name": dice.choice(NAMES)}
            for key in ("apiVersion", "kind", *(() if dice.random() < 0.5 else ("status",))):
                tree.pop(key, None)
        return tree

    def json_patch(self) -> str:
        """A list of operations, most of which make no sense."""
        dice, made = self.dice, []
        for _ in range(dice.randint(0, 3)):
            value, source = dice.choice([*ACCIDENTS, *WORDS]), dice.choice(POINTERS)
            made.append({"op": dice.choice(OPERATIONS), "path": dice.choice(POINTERS), "from": source, "value": value})
        return json.dumps(made)

    def value(self, schema: Json, depth: int) -> Any:
        """Something of the schema's type, or an accident."""
        dice = self.dice
        if depth and dice.random() < 0.01:
            return dice.choice(ACCIDENTS)
        if "allOf" in schema:
            schema = schema["allOf"][0]
        if "$ref" in schema:
            return self.object(self.schemas[schema["$ref"].rpartition("/")[2]], depth)
        kind = schema.get("type")
        if kind == "array":
            return [self.value(schema["items"], depth + 1) for _ in range(dice.choice([0, 1, 1, 2]))]
        if kind == "object":
            inner = schema.get("additionalProperties", {"type": "string"})
            return {dice.choice(WORDS): self.value(inner, depth + 1) for _ in range(dice.choice([0, 1, 2]))}
        if kind in ("integer", "number"):
            return dice.choice(NUMBERS)
        return dice.random() < 0.5 if kind == "boolean" else dice.choice(WORDS)

    def object(self, schema: Json, depth: int) -> Json:
        """Required fields, and a few of the others: fewer as it gets deeper."""
        needed, dice = schema.get("required", []), self.dice
        share = 0.5 if depth == 0 else 0.25 if depth < 3 else 0.05
        made = {
            name: self.value(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if depth < 8 and (name in needed or dice.random() < share)
        }
        if dice.random() < 0.02:
            made["unheardOf"] = 1
        return made


def excused(code: int, body: bytes) -> bool:
    """The 5xx that a real server answers too: a resourceVersion to come or of no number, nobody to proxy to."""
    return (code == 504 and b"Too large resource version" in body) or (code == 503 and b"no endpoints" in body)


def run(api: Api, seed: int, count: int) -> tuple[Counter[int], list[tuple[Generated, int, bytes]]]:
    """(how often each status, the 5xx). Raises TimeoutError where an answer does not come."""
    codes: Counter[int] = Counter()
    failed = []
    stream = iter(Generator(api, seed))
    for _ in range(count):
        asked = next(stream)
        body = asked.body.encode() if asked.body is not None else None
        answer = api(asked.method, asked.path, body, asked.media, accept=asked.accept)
        codes[answer.code] += 1
        if answer.code >= 500 and not excused(answer.code, answer.body):
            failed.append((asked, answer.code, answer.body))
    return codes, failed
