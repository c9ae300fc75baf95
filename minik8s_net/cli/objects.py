"""Commands about objects, as kubectl has them, for machines without it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from ..api.errors import StatusError, is_not_found
from ..client import exec as exec_client
from ..client import manifests
from ..client.http import Api, Json, Resource
from ..state import State, typed
from . import output

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class UsageError(Exception):
    """The words on the command line do not fit together: says how they would."""


def connect(args: argparse.Namespace) -> Api:
    """The API of the cluster that --cluster names."""
    path = State.of(args.cluster).kubeconfig
    if not path.exists():
        raise UsageError(f'there is no cluster "{args.cluster}"; start it with: {typed("up", args.cluster)}')
    return Api.load(path)


def apply(args: argparse.Namespace) -> int:
    """Create or update what the manifests say. What is refused is told, and the rest applied, as kubectl does."""
    items = [item for source in args.filename for item in manifests.read_each(source)]
    if not items:
        raise UsageError("no objects passed to apply")
    from .diff import remember

    api, refused = connect(args), 0
    remember(args, api)
    for item in items:
        try:
            if isinstance(item, manifests.ManifestError):
                raise item
            done = manifests.apply_one(api, item, args.namespace)
        except (StatusError, manifests.ManifestError) as error:
            refused += 1
            print(f"error: {_which(item)}{error}", file=sys.stderr)
            continue
        _warn(api)
        print(done, flush=True)
    return 1 if refused else 0


def _which(item: Json | manifests.ManifestError) -> str:
    """Names the object an error is about, unless the error does so itself."""
    if isinstance(item, manifests.ManifestError):
        return ""
    name = (item.get("metadata") or {}).get("name", "")
    return f"{item['kind']} {name}: " if name else ""


def get(args: argparse.Namespace) -> int:
    """List objects as the server's tables, or as JSON, YAML or names."""
    api = connect(args)
    if args.kinds:
        rows = [[r.plural, ",".join(r.short_names), r.api_version, r.kind] for r in api.resources()]
        output.table(["NAME", "SHORTNAMES", "APIVERSION", "KIND"], rows)
        return 0
    if not args.what:
        raise UsageError("which kind? e.g. minik8s get pods; what there is: minik8s get --kinds")
    targets = list(_targets(api, args.what))
    if args.output not in ("json", "yaml", "name"):
        return _tables(api, targets, args)
    found: list[Json] = []
    for resource, name in targets:
        answer = api.request("GET", _path(api, resource, name, args), query={"labelSelector": args.selector})
        items = answer["items"] if not name else [answer]
        api_version, kind = resource.api_version, resource.kind
        found += [{"apiVersion": api_version, "kind": kind, **_unmanaged(item)} for item in items]
    if args.output == "name":
        print("\n".join(f"{api.resource_of(o['apiVersion'], o['kind']).qualified}/{o['metadata']['name']}"
                        for o in found))  # fmt: skip
    else:
        _dump(found, args.output, single=len(targets) == 1 and targets[0][1] is not None)
    return 0


def _unmanaged(obj: Json) -> Json:
    """Without who manages which field, as kubectl shows objects."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def describe(args: argparse.Namespace) -> int:
    """An object as YAML, then its events."""
    from datetime import UTC, datetime

    import yaml

    from ..api.times import age

    api, now = connect(args), datetime.now(UTC)
    for resource, name in _targets(api, args.what):
        if not name:
            raise UsageError("describe which one? e.g. minik8s describe pod web")
        namespace = args.namespace or api.namespace
        obj = _unmanaged(api.request("GET", resource.path(namespace, name)))
        print(yaml.safe_dump(obj, sort_keys=False, allow_unicode=True), end="")
        selector = f"involvedObject.uid={obj['metadata']['uid']}"  # not those of an earlier one of that name
        where = api.resource("events").path(namespace if resource.namespaced else None)
        events = api.request("GET", where, query={"fieldSelector": selector})["items"]
        print("Events:" if events else "Events: <none>")
        for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or e["metadata"]["creationTimestamp"])):
            at = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
            print(f"  {age(at, now):>6}  {event['type']:8} {event['reason']:18} {event['message']}")
    return 0


def delete(args: argparse.Namespace) -> int:
    """Delete objects, and wait until they are gone."""
    if not args.what and not args.filename:
        raise UsageError("You must provide one or more resources by argument or filename, e.g. minik8s delete pod web")
    api = connect(args)
    gone: list[str] = []
    if args.filename:
        objects = [obj for source in args.filename for obj in manifests.read(source)]
        for done in manifests.delete(api, objects, args.namespace, missing_ok=args.ignore_not_found):
            print(done)
            gone.append(done.path)
    for resource, name in _targets(api, args.what):
        namespace = args.namespace or api.namespace
        names = [name] if name else _selected(api, resource, namespace, args.selector)
        for one in names:
            path = resource.path(namespace, one)
            try:
                api.request("DELETE", path)
            except StatusError as error:
                if args.ignore_not_found and is_not_found(error):
                    continue
                raise
            print(f"{resource.qualified}/{one} deleted")
            gone.append(path)
    if not args.no_wait:
        for path in gone:
            _until_gone(api, path, 60.0)
    return 0


def exec_(args: argparse.Namespace) -> int:
    """Run a command in a container; the exit status is the command's."""
    if not args.argv:
        raise UsageError(f"which command? e.g. minik8s exec {args.pod} -- ip address")
    api = connect(args)
    pod = args.pod.removeprefix("pod/")
    return exec_client.interact(
        api, args.namespace or api.namespace, pod, args.argv, args.container, stdin=args.stdin, tty=args.tty
    )


def logs(args: argparse.Namespace) -> int:
    """What a container printed."""
    api = connect(args)
    path = api.resource("pods").path(args.namespace or api.namespace, args.pod.removeprefix("pod/"), "log")
    query = {
        "container": args.container,
        "follow": "true" if args.follow else None,
        "previous": "true" if args.previous else None,
        "tailLines": args.tail,
    }
    for chunk in api.stream(path, query):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return 0


def wait(args: argparse.Namespace) -> int:
    """Wait for a condition, for deletion or for creation."""
    from ..client.wait import check_condition, seconds, wait_for

    try:
        check_condition(args.condition)
        timeout = seconds(args.timeout)
    except ValueError as error:
        raise UsageError(str(error)) from None
    api = connect(args)
    for resource, name in _targets(api, args.what):
        if not name:
            raise UsageError("wait for which one? e.g. minik8s wait pod/web --for condition=Ready")
        path = resource.path(args.namespace or api.namespace, name)
        wait_for(api, path, args.condition, timeout)
        print(f"{resource.qualified}/{name} condition met")
    return 0


# -- inside --------------------------------------------------------------------------------------------------------
def _targets(api: Api, words: list[str]) -> Iterator[tuple[Resource, str | None]]:
    """`pods`, `pods a b`, `pod/a svc/b`, `pods,services` -> (resource, name or None)."""
    if any("/" in word for word in words):
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash:
                raise UsageError("names are given either all as KIND/NAME, or as KIND NAME NAME…")
            yield api.resource(kind), name
        return
    if not words:
        return
    kinds, names = words[0].split(","), words[1:]
    for kind in kinds:
        if kind == "all":
            yield from ((r, None) for r in api.resources() if "all" in r.categories)
            continue
        resource = api.resource(kind)
        yield from ((resource, name) for name in names or (None,))


def _path(api: Api, resource: Resource, name: str | None, args: argparse.Namespace) -> str:
    return resource.path(None if args.all_namespaces else args.namespace or api.namespace, name)


def _tables(api: Api, targets: list[tuple[Resource, str | None]], args: argparse.Namespace) -> int:
    """A table a kind, as the server makes them; then the changes, if they are to be followed. 1 if any is missing."""
    if args.watch and len(targets) > 1:
        raise UsageError("only one kind, or one object, can be watched, e.g. minik8s get pods -w")
    missing: list[StatusError] = []
    names: dict[Resource, list[str | None]] = {}
    for resource, name in targets:
        names.setdefault(resource, []).append(name)
    for resource, wanted in names.items():
        answers = []
        for name in wanted:
            query = {"labelSelector": args.selector}
            try:
                answers.append(api.request("GET", _path(api, resource, name, args), query=query, accept=TABLE))
            except StatusError as error:
                if not is_not_found(error):
                    raise
                missing.append(error)
        if answers:
            _print_table(api, resource, answers, args, several=len(names) > 1)
        if answers and args.watch:
            _follow(api, resource, wanted[0], answers[0], args)
    for each in missing:
        print(f"error: {each}", file=sys.stderr)
    return 1 if missing else 0


def _print_table(api: Api, resource: Resource, answers: list[Json], args: argparse.Namespace, *, several: bool) -> None:
    rows = [_line(resource, answer, row, args, several) for answer in answers for row in answer.get("rows") or []]
    if rows:
        spaces = ["NAMESPACE"] if args.all_namespaces and resource.namespaced else []
        definitions = answers[0]["columnDefinitions"]
        output.table([*spaces, *(definitions[i]["name"].upper() for i in _columns(answers[0], args))], rows)
        if several:
            print()
    elif not several:
        everywhere = args.all_namespaces or not resource.namespaced
        where = "" if everywhere else f" in {args.namespace or api.namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)


def _columns(answer: Json, args: argparse.Namespace) -> list[int]:
    wide = args.output == "wide"
    return [i for i, c in enumerate(answer["columnDefinitions"]) if wide or not c.get("priority")]


def _line(resource: Resource, answer: Json, row: Json, args: argparse.Namespace, several: bool) -> list[str]:
    cells = ["<none>" if row["cells"][i] is None else str(row["cells"][i]) for i in _columns(answer, args)]
    if several:
        cells[0] = f"{resource.qualified}/{cells[0]}"
    spaces = args.all_namespaces and resource.namespaced
    return [*([row["object"]["metadata"]["namespace"]] if spaces else []), *cells]


def _follow(api: Api, resource: Resource, name: str | None, answer: Json, args: argparse.Namespace) -> None:
    field = f"metadata.name={name}" if name else None
    version = answer["metadata"].get("resourceVersion")
    query = {"resourceVersion": version, "labelSelector": args.selector, "fieldSelector": field}
    columns = answer["columnDefinitions"]
    for event in api.watch(_path(api, resource, None, args), query, accept=TABLE):
        if event["type"] == "ERROR":
            raise StatusError(event["object"]["code"], event["object"]["reason"], event["object"]["message"])
        for row in event["object"].get("rows") or ():  # the columns are told with the first event only
            output.table(_line(resource, {**event["object"], "columnDefinitions": columns}, row, args, False), [])
        sys.stdout.flush()  # whoever it is piped to wants it now


def _dump(found: list[Json], form: str, single: bool) -> None:
    data: Any = found[0] if single else {"apiVersion": "v1", "kind": "List", "items": found}
    if form == "json":
        print(json.dumps(data, indent=4))
    else:
        from ..client.yamltext import dump

        print(dump(data), end="")


def _selected(api: Api, resource: Resource, namespace: str, selector: str | None) -> list[str]:
    if not selector:
        raise UsageError("delete which ones? Give names, or -l LABELS")
    items = api.request("GET", resource.path(namespace), query={"labelSelector": selector})["items"]
    return [item["metadata"]["name"] for item in items]


def _until_gone(api: Api, path: str, patience: float) -> None:
    from ..client.wait import wait_for

    try:
        wait_for(api, path, "delete", patience)
    except TimeoutError as error:
        print(f"warning: {error}", file=sys.stderr)


def _warn(api: Api) -> None:
    for warning in api.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    api.warnings.clear()
