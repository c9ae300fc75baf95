"""What can be said: kinds, schema walk, defaulting, validation, selectors, patching, tables. Pure: no I/O.

In Kubernetes: k8s.io/api, apimachinery and the registries' strategies. Objects are JSON trees (`dict`) here; the typed
lightkube models are their schema, never their decoder (see docs/decisions.md).

    kinds        by_path(group, version, plural), by_kind(api_version, kind), by_class(resource) -> Kind
    schema       load_json(body) -> (tree, duplicate fields); walk(model, tree) -> (clean tree, errors, unknown fields)
    strategy     decode(kind, body, strictness), prepare(kind, tree, strictness) -> (tree, warnings);
                 default(kind, tree); validate_create(kind, tree), validate_update(kind, new, old) -> list[FieldError]
    errors       StatusError, FieldError, invalid(kind, name, errors), not_found(...) ...
    selectors    parse_labels(text), from_selector(LabelSelector) -> LabelSelection; matches(selector, labels);
                 parse_fields(kind, text) -> a predicate on trees
    patch        json_patch(tree, ops), merge(tree, patch), strategic(kind.model, tree, patch)
    tables       table(kind, objects, include_object="Metadata", now=...) -> metav1.Table
    discovery    api(), apis(), resources(group, version), aggregated(...), version()
    openapi      v3_index(), v3(path), v2(); openapi_protobuf.v2(): for kubectl
    protobuf     decode(body) -> tree
    quantity, times   parsing and canonical form
"""
