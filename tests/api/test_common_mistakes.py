# ruff: noqa: E501  (the messages are the API server's)
"""What people get wrong most often, kind by kind, in the API server's words."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from minik8s_net.api import kinds, strategy
from minik8s_net.api.validation import cron

Json = dict[str, Any]
C = "containers: [{name: c, image: x}]"
T = f"{{metadata: {{labels: {{a: b}}}}, spec: {{{C}}}}}"
JOB = "{spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}"
INNER = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}"
TEMPLATE = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}"
DAEMON = f"selector: {{matchLabels: {{a: b}}}}, template: {TEMPLATE}"
CASES = f"""
- batch/v1 CronJob
- {{schedule: '61 * * * *', jobTemplate: {JOB}}}
- ['spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61']
---
- batch/v1 CronJob
- {{schedule: '@noon', timeZone: Mars/Olympus, jobTemplate: {JOB}}}
- ['spec.schedule: Invalid value: "@noon": unrecognized descriptor: @noon',
   'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus']
---
- batch/v1 Job
- {{{INNER}, completions: 2, backoffLimitPerIndex: 1, podReplacementPolicy: Never}}
- ['spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode',
   'spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"']
---
- batch/v1 Job
- {{{INNER}, completions: 2, completionMode: Indexed, maxFailedIndexes: 3}}
- ['spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified',
   'spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions']
---
- apps/v1 DaemonSet
- {{{DAEMON}, updateStrategy: {{rollingUpdate: {{maxSurge: 1}}}}}}
- ['spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero']
---
- apps/v1 DaemonSet
- {{{DAEMON}, updateStrategy: {{rollingUpdate: {{maxSurge: 101%, maxUnavailable: 0}}}}}}
- ['spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%']
---
- apps/v1 DaemonSet
- {{{DAEMON}, updateStrategy: {{rollingUpdate: {{maxUnavailable: 0%}}}}}}
- ['spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0']
---
- v1 Pod
- {{{C}, affinity: {{nodeAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [
    {{weight: 0, preference: {{matchExpressions: [{{key: k, operator: Near}}]}}}}]}}}}}}
- ['spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100',
   'spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator']
---
- v1 Pod
- {{containers: [{{name: c, image: x, securityContext: {{runAsUser: -1}}, readinessProbe: {{terminationGracePeriodSeconds: 5,
    exec: {{command: [x]}}}}}}]}}
- ['spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes',
   'spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive']
---
- networking.k8s.io/v1 Ingress
- {{rules: [{{host: 1.2.3.4, http: {{paths: [{{path: x, pathType: Prefix, backend: {{service: {{name: s}}}}}}]}}}}]}}
- ['spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
   'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path',
   'spec.rules[0].http.paths[0].backend: Required value: port name or number is required']
---
- networking.k8s.io/v1 Ingress
- {{}}
- ['spec: Invalid value: []networking.IngressRule(nil): either `defaultBackend` or `rules` must be specified']
---
- networking.k8s.io/v1 Ingress
- {{defaultBackend: {{}}, rules: [{{http: {{paths: [{{path: /a//b, backend: {{service: {{name: s}}}}}}]}}}}]}}
- ['spec.defaultBackend: Invalid value: "": resource or service backend is required',
   'spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified']
---
- policy/v1 PodDisruptionBudget
- {{minAvailable: 150%, maxUnavailable: 1}}
- ['spec: Invalid value: "": minAvailable and maxUnavailable cannot be both set',
   'spec.minAvailable: Invalid value: "150%": must not be greater than 100%']
---
- autoscaling/v2 HorizontalPodAutoscaler
- {{minReplicas: 3, maxReplicas: 2, scaleTargetRef: {{kind: Deployment}}, metrics: [{{type: Pods}}]}}
- ['spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`',
   'spec.scaleTargetRef.name: Required value',
   'spec.metrics[0].pods: Required value: must populate information for the given metric source']
---
- v1 PersistentVolumeClaim
- {{accessModes: [RWO], resources: {{requests: {{storage: 0}}}}}}
- ['spec.accessModes: Unsupported value: "RWO": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
   'spec.resources[storage]: Invalid value: "0": must be greater than zero']
---
- v1 PersistentVolume
- {{capacity: {{storage: 1Gi}}, accessModes: [ReadWriteOnce], hostPath: {{path: /a}}, nfs: {{server: s, path: /}}}}
- ['spec.nfs: Forbidden: may not specify more than 1 volume type']
---
- v1 ResourceQuota
- {{hard: {{beer: 3, pods: -1}}}}
- ['spec.hard[beer]: Invalid value: "beer": must be a standard resource type or fully qualified',
   'spec.hard[beer]: Invalid value: "beer": must be a standard resource for quota',
   'spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0']
---
- v1 Pod
- {{{C}, volumes: [
    {{name: c, configMap: {{name: m, items: [{{key: a, path: ..data}}]}}}},
    {{name: p, projected: {{sources: [
      {{configMap: {{items: [{{key: a, path: ../../etc/x}}]}}}},
      {{secret: {{name: s, items: [{{key: a, path: t}}]}}, downwardAPI: {{items: [{{path: t, fieldRef: {{fieldPath: metadata.name}}}}]}}}},
      {{serviceAccountToken: {{path: /t, expirationSeconds: 599}}}}]}}}}]}}
- ['spec.volumes[0].configMap.items[0].path: Invalid value: "..data": must not start with ''..''',
   'spec.volumes[1].projected.sources[0].configMap.name: Required value',
   'spec.volumes[1].projected.sources[0].configMap.items[0].path: Invalid value: "../../etc/x": must not contain ''..''',
   'spec.volumes[1].projected: Invalid value: "t": conflicting duplicate paths',
   'spec.volumes[1].projected.sources[1]: Forbidden: may not specify more than 1 volume type',
   'spec.volumes[1].projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes',
   'spec.volumes[1].projected.sources[2].serviceAccountToken.path: Invalid value: "/t": must be a relative path']
"""
WHOLE = """
- storage.k8s.io/v1 StorageClass
- {provisioner: '', reclaimPolicy: Keep}
- ['provisioner: Required value', 'reclaimPolicy: Unsupported value: "Keep": supported values: "Delete", "Retain"']
---
- scheduling.k8s.io/v1 PriorityClass
- {value: 2000000000}
- ['value: Forbidden: maximum allowed value of a user defined priority is 1000000000']
---
- rbac.authorization.k8s.io/v1 Role
- {rules: [{resources: [pods], nonResourceURLs: [/x]}]}
- ['rules[0].verbs: Required value: verbs must contain at least one value',
   'rules[0].nonResourceURLs: Invalid value: []string{"/x"}: namespaced rules cannot apply to non-resource URLs',
   'rules[0].nonResourceURLs: Invalid value: []string{"/x"}: rules cannot apply to both regular resources and non-resource URLs']
---
- rbac.authorization.k8s.io/v1 ClusterRoleBinding
- {roleRef: {kind: Role, name: r}, subjects: [{kind: ServiceAccount, name: s}]}
- ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"', 'subjects[0].namespace: Required value']
---
- v1 ConfigMap
- {data: {..data: x, ..: x, ..2026_01_01: x, .ok: x, a..b: x}}
- ['data[..data]: Invalid value: "..data": must not start with ''..''', 'data[..]: Invalid value: "..": must not be ''..''',
   'data[..2026_01_01]: Invalid value: "..2026_01_01": must not start with ''..''']
---
- v1 Secret
- {data: {..data: eA==}}
- ['data[..data]: Invalid value: "..data": must not start with ''..''']
"""


def refused(name: str, tree: Json) -> list[str]:
    kind = kinds.by_kind(*name.split())
    assert kind
    metadata = {"name": "x", **({"namespace": "default"} if kind.namespaced else {})}
    made, _ = strategy.prepare(kind, {"metadata": metadata, **tree}, "Strict")
    return [str(error) for error in strategy.validate_create(kind, strategy.default(kind, made))]


@pytest.mark.parametrize("case", list(yaml.safe_load_all(CASES)), ids=lambda case: str(case[0]).rpartition(" ")[2])
def test_specs(case: tuple[str, Json, list[str]]) -> None:
    name, spec, said = case
    assert refused(name, {"spec": spec}) == said


@pytest.mark.parametrize("case", list(yaml.safe_load_all(WHOLE)), ids=lambda case: str(case[0]).rpartition(" ")[2])
def test_whole_objects(case: tuple[str, Json, list[str]]) -> None:
    name, tree, said = case
    assert refused(name, tree) == said


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("*/15 0-6,22 1 jan-mar mon", ""),
        ("@every 1h30m", ""),
        ("@hourly", ""),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("30-10 * * * *", "beginning of range (30) beyond end of range (10): 30-10"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("TZ=UTC * * * * *", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
    ],
)
def test_schedules(schedule: str, wrong: str) -> None:
    assert cron.complaint(schedule) == wrong


def test_a_stateful_set_mounts_what_its_claims_are_called() -> None:
    container = {"name": "c", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec: Json = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert refused("apps/v1 StatefulSet", {"spec": spec}) == [
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'
    ]
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    assert not refused("apps/v1 StatefulSet", {"spec": {**spec, "volumeClaimTemplates": [claim]}})


def test_what_may_not_change() -> None:
    cases: list[tuple[str, Json, Json, str]] = [
        ("v1 PersistentVolumeClaim", {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
         {"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}},
         "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
         "for bound claims"),
        ("storage.k8s.io/v1 StorageClass", {"provisioner": "a"}, {"provisioner": "b"},
         "provisioner: Forbidden: updates to provisioner are forbidden."),
        ("scheduling.k8s.io/v1 PriorityClass", {"value": 1}, {"value": 2},
         "value: Forbidden: may not be changed in an update."),
        ("rbac.authorization.k8s.io/v1 RoleBinding", {"roleRef": {"kind": "Role", "name": "a"}},
         {"roleRef": {"kind": "Role", "name": "b"}},
         'roleRef: Invalid value: rbac.RoleRef{APIGroup:"rbac.authorization.k8s.io", Kind:"Role", Name:"b"}: '
         "cannot change roleRef"),
    ]  # fmt: skip
    for name, before, after, said in cases:
        kind = kinds.by_kind(*name.split())
        assert kind
        metadata = {"name": "x", **({"namespace": "default"} if kind.namespaced else {})}
        old, new = (
            strategy.default(kind, strategy.prepare(kind, {"metadata": metadata, **tree})[0])
            for tree in (before, after)
        )
        assert said in [str(error) for error in strategy.validate_update(kind, new, old)]
        assert not strategy.validate_update(kind, old, old)
