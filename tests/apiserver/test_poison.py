"""Nothing of the wrong type gets in: every field of every model, and mutations of whole objects by every way in."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest

from minik8s_net.api import schema

from .oracle import faults, model_for
from .samples import KINDS, VALUES, mutated, path_of, sample
from .serving import Api


def models() -> list[type[Any]]:
    """Every model that a stored kind can reach."""
    found: dict[str, type[Any]] = {}
    todo = [kind.model for kind in KINDS]
    while todo:
        model = todo.pop()
        key = f"{model.__module__}.{model.__name__}"
        if key not in found:
            found[key] = model
            todo += [inner.model for f in schema.fields(model).values() for inner in types(f.type) if inner.model]
    return list(found.values())


def types(kind: schema.Type | None) -> Iterator[schema.Type]:
    while kind:
        yield kind
        kind = kind.item


def test_every_field_of_every_model_refuses_what_it_is_not() -> None:
    """What the walker lets pass is what the official client's models say, also inside lists and maps."""
    checked = 0
    for model in models():
        name = model_for(model)
        for field in schema.fields(model).values():
            for value in VALUES:
                walked = schema.walk(model, {field.name: copy.deepcopy(value)})
                checked += 1
                if not walked.errors and name and field.name in walked.tree:
                    kept = {field.name: walked.tree[field.name]}
                    assert not faults(name, kept), (model, field.name, value)
    assert checked > 50_000


WAYS = {
    "POST": "application/json", "PUT": "application/json", "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json", "apply": "application/apply-patch+yaml",
    "yaml": "application/yaml",
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_mutated_objects_by_every_way_in(api: Api, seed: int) -> None:
    dice = random.Random(seed)
    codes: Counter[int] = Counter()
    where = f"poison-{seed}"
    api.create("/api/v1/namespaces", {"metadata": {"name": where}})
    for kind in KINDS:
        if kind.kind == "Namespace":
            continue
        base, collection = sample(kind, f"m{seed}", where), path_of(kind, where)
        api("POST", collection, base)
        for number, (way, media) in enumerate(WAYS.items()):
            bad = json.dumps(mutated(base, dice))
            if way in ("POST", "yaml"):
                bad = bad.replace(f'"name": "m{seed}"', f'"name": "n{number}"')
                answer = api("POST", f"{collection}?fieldValidation=Ignore", bad, media)
            else:
                method = "PUT" if way == "PUT" else "PATCH"
                name = base["metadata"]["name"]
                query = "fieldManager=x&force=true" if way == "apply" else "fieldValidation=Ignore"
                answer = api(method, f"{collection}/{name}?{query}", bad, media)
            codes[answer.code] += 1
            assert answer.code < 500, (kind.kind, way, bad, answer.body)
        for item in api.get(collection)["items"]:
            name = model_for(kind.model)
            assert not name or not faults(name, item), (kind.kind, item)
            assert api("DELETE", f"{collection}/{item['metadata']['name']}?gracePeriodSeconds=0").code in (200, 403)
            cast(Any, kind.resource).from_dict({"apiVersion": kind.api_version, "kind": kind.kind, **item})
    assert min(codes[400], codes[422], codes[200] + codes[201]) > 15, codes
