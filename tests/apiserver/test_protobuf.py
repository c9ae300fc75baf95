"""Bodies as Kubernetes' protobuf: by the real kubectl, and packed here by hand from the published field numbers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from .serving import Api, Json, Serving

UID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
KUBECTL = shutil.which("kubectl")
MEDIA = "application/vnd.kubernetes.protobuf"


def varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, message: bytes) -> bytes:
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind)) + field(2, message)


def meta(name: str) -> bytes:
    return field(1, field(1, name))


POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


def test_scale_eviction_and_delete_options(api: Api, namespace: str) -> None:
    apps, core = f"/apis/apps/v1/namespaces/{namespace}/deployments", f"/api/v1/namespaces/{namespace}/pods"
    labels = {"app": "d"}
    template: Json = {"metadata": {"labels": labels}, "spec": POD["spec"]}
    api.create(apps, {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}})
    scale = envelope("autoscaling/v1", "Scale", meta("d") + field(2, field(1, 7)))
    assert api("PUT", f"{apps}/d/scale", scale, MEDIA).json["spec"]["replicas"] == 7
    api.create(core, POD)
    eviction = envelope("policy/v1", "Eviction", meta("p") + field(2, field(5, "All")))  # dryRun
    assert api("POST", f"{core}/p/eviction", eviction, MEDIA).code == 201
    assert api("GET", f"{core}/p").code == 200
    wrong = envelope("v1", "DeleteOptions", field(2, field(1, "not-its-uid")))
    assert api("DELETE", f"{core}/p", wrong, MEDIA).code == 409
    gone = envelope("v1", "DeleteOptions", field(1, 0) + field(4, "Background"))
    assert api("DELETE", f"{core}/p", gone, MEDIA).code == 200
    assert api("GET", f"{core}/p").code == 404


def test_events_of_the_new_group_and_cron_jobs(api: Api, namespace: str) -> None:
    regarding = field(1, "Pod") + field(2, namespace) + field(3, "p")
    event = meta("e") + field(2, field(1, 1_700_000_000) + field(2, 123_456_000)) + field(4, "example.com/c")
    event += field(5, "i") + field(6, "Doing") + field(7, "Reason") + field(8, regarding) + field(10, "hello")
    event += field(11, "Normal")
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    made = api("POST", path, envelope("events.k8s.io/v1", "Event", event), MEDIA)
    assert made.code == 201, made.body
    assert made.json["eventTime"] == "2023-11-14T22:13:20.123456Z" and made.json["note"] == "hello"
    container = field(1, "c") + field(2, "busybox")
    pod = field(2, field(2, container) + field(3, "Never"))
    job = field(2, field(2, field(6, pod)))  # jobTemplate.spec.template
    cron = meta("nightly") + field(2, field(1, "0 3 * * *") + field(5, job[len(varint(18)) + 1 :]))
    path = f"/apis/batch/v1/namespaces/{namespace}/cronjobs"
    made = api("POST", path, envelope("batch/v1", "CronJob", cron), MEDIA)
    assert made.code == 201, made.body
    assert made.json["spec"]["schedule"] == "0 3 * * *"


def test_what_is_no_message_is_a_400(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for body in (b"k8s\0", b"k8s\0\x0a\xff", envelope("v1", "ConfigMap", b"\x0a\x7f"), envelope("v1", "Nonsense", b"")):
        answer = api("POST", path, body, MEDIA)
        assert answer.code == 400 and answer.json["kind"] == "Status"


COMMANDS = """
create clusterrole NAME --verb=get,list --resource=pods
create clusterrolebinding NAME --clusterrole=cr --user=u
create configmap NAME --from-literal=a=b
create cronjob NAME --image=busybox --schedule='*/5 * * * *' -- date
create deployment NAME --image=nginx --replicas=2 --port=80
create ingress NAME --rule=foo.com/*=svc:80
create job NAME --image=busybox -- date
create namespace NAME
create poddisruptionbudget NAME --selector=app=x --min-available=1
create priorityclass NAME --value=1000
create quota NAME --hard=cpu=1,pods=3
create role NAME --verb=get --resource=pods
create rolebinding NAME --role=r --user=u
create secret generic NAME --from-literal=a=b
create secret docker-registry NAME --docker-username=a --docker-password=b
create service clusterip NAME --tcp=80:80
create service nodeport NAME --tcp=80:80
create service externalname NAME --external-name=x.com
create serviceaccount NAME
"""


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: .ci/run installs it")
def test_kubectl_create_as_protobuf_makes_what_its_json_makes(cluster: Serving, namespace: str, tmp_path: Path) -> None:
    def kubectl(*words: str, stdin: str | None = None) -> str:
        env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}
        command = [str(KUBECTL), "-n", namespace, *words]
        done = subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    commands = [shlex.split(line) for line in COMMANDS.strip().splitlines()]
    manifests = []
    for number, words in enumerate(commands):
        mine, twin = ([f"{namespace}-{w}{number}" if part == "NAME" else part for part in words] for w in "ab")
        kubectl(*mine)
        end = twin.index("--") if "--" in twin else len(twin)
        manifests.append(kubectl(*twin[:end], "--dry-run=client", "-o", "yaml", *twin[end:]))
    kubectl("create", "-f", "-", stdin="\n---\n".join(manifests))
    compared = cluster.call(lambda: _pairs(cluster, namespace, len(commands)))
    assert len(compared) == len(commands)
    for one, other in compared:
        assert one == other


def _pairs(cluster: Serving, namespace: str, count: int) -> list[tuple[Json, Json]]:
    found: dict[str, Json] = {}
    store = cluster.registry.store
    for resource in store.resources():
        for version in store.list(resource):
            if version.name.startswith(f"{namespace}-"):
                found[version.name] = _essence(version.tree)
    return [(found[f"{namespace}-a{n}"], found[f"{namespace}-b{n}"]) for n in range(count)]


def _essence(tree: Json) -> Json:
    """Without what differs between any two objects."""
    made = {name: value for name, value in tree.items() if name != "metadata"}
    text = json.dumps(made, sort_keys=True).replace(f'"{tree["metadata"]["name"]}"', '"NAME"')
    for key in ("clusterIP", "nodePort", "uid"):
        spec = tree.get("spec", {})
        for value in (spec.get(key), *(port.get(key) for port in spec.get("ports", ()) if isinstance(port, dict))):
            text = text.replace(json.dumps(value), "…") if value else text
    labels = repr(tree["metadata"].get("labels")).replace(tree["metadata"]["name"], "NAME")
    return {"text": re.sub(UID, "UID", text), "labels": re.sub(UID, "UID", labels)}
