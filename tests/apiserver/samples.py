"""One small valid manifest of every stored kind."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml

from minik8s_net.api import kinds
from minik8s_net.api.kinds import Kind

Json = dict[str, Any]
PODS = "{metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}}"
RUNS = "{spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: [date]}]}}"
SELECTOR = "{matchLabels: {app: a}}"
RULE = "{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}"
HOOK = (
    f"{{name: a.example.com, clientConfig: {{url: 'https://example.com'}}, rules: [{RULE}], sideEffects: None, "
    "admissionReviewVersions: [v1]}"
)
TEXT = f"""
/v1 ConfigMap: {{data: {{a: b}}, binaryData: {{c: Zm9v}}}}
/v1 Endpoints: {{subsets: [{{addresses: [{{ip: 10.0.0.1}}], ports: [{{port: 80}}]}}]}}
/v1 Event: {{involvedObject: {{kind: Pod, name: p, namespace: default}}, reason: R, message: m, type: Normal}}
/v1 LimitRange: {{spec: {{limits: [{{type: Container, default: {{cpu: 100m}}}}]}}}}
/v1 Namespace: {{spec: {{}}}}
/v1 Node: {{spec: {{podCIDR: 10.9.0.0/24, taints: [{{key: a, effect: NoSchedule}}]}}, metadata: {{labels: {{x: y}}}}}}
/v1 PersistentVolumeClaim: {{spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}}}
/v1 PersistentVolume: {{spec: {{accessModes: [ReadWriteOnce], capacity: {{storage: 1Gi}}, hostPath: {{path: /x}}}}}}
/v1 Pod:
  metadata: {{labels: {{app: a}}, annotations: {{example.com/x: y}}}}
  spec:
    nodeSelector: {{disk: ssd}}
    tolerations: [{{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 5}}]
    securityContext: {{runAsUser: 1, sysctls: [{{name: net.a, value: b}}]}}
    affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [
      {{topologyKey: zone, labelSelector: {SELECTOR}}}]}}}}
    topologySpreadConstraints: [{{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}}]
    dnsConfig: {{nameservers: [1.1.1.1], options: [{{name: ndots, value: '2'}}]}}
    hostAliases: [{{ip: 10.0.0.1, hostnames: [a.example]}}]
    volumes:
    - {{name: v, configMap: {{name: c, items: [{{key: a, path: b}}]}}}}
    - {{name: e, emptyDir: {{sizeLimit: 1Gi}}}}
    - {{name: p, projected: {{sources: [{{serviceAccountToken: {{path: t, expirationSeconds: 3600}}}}]}}}}
    initContainers: [{{name: i, image: busybox}}]
    containers:
    - name: c
      image: nginx
      args: [a]
      ports: [{{containerPort: 80, name: http}}]
      env: [{{name: A, value: b}}, {{name: N, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
      envFrom: [{{secretRef: {{name: s}}}}]
      resources: {{limits: {{cpu: 200m, memory: 64Mi}}, requests: {{cpu: 100m}}}}
      volumeMounts: [{{name: v, mountPath: /v}}]
      readinessProbe: {{httpGet: {{path: /, port: http, httpHeaders: [{{name: A, value: b}}]}}, periodSeconds: 5}}
      lifecycle: {{preStop: {{exec: {{command: [sleep, '1']}}}}}}
      securityContext: {{capabilities: {{add: [NET_ADMIN]}}}}
/v1 PodTemplate: {{template: {PODS}}}
/v1 ReplicationController: {{spec: {{replicas: 1, selector: {{app: a}}, template: {PODS}}}}}
/v1 ResourceQuota: {{spec: {{hard: {{pods: '3', requests.cpu: 1}}}}}}
/v1 Secret: {{data: {{a: Yg==}}, stringData: {{c: d}}}}
/v1 ServiceAccount: {{secrets: [{{name: s}}], imagePullSecrets: [{{name: r}}]}}
/v1 Service: {{spec: {{selector: {{app: a}}, ports: [{{port: 80, targetPort: http, protocol: TCP}}]}}}}
apiregistration.k8s.io/v1 APIService:
  metadata: {{name: v1.example.com}}
  spec: {{group: example.com, version: v1, groupPriorityMinimum: 10, versionPriority: 10,
         service: {{name: s, namespace: default}}}}
apps/v1 ControllerRevision: {{revision: 1, data: {{a: b}}}}
apps/v1 DaemonSet: {{spec: {{selector: {SELECTOR}, template: {PODS}}}}}
apps/v1 Deployment: {{spec: {{selector: {SELECTOR}, template: {PODS}, strategy: {{rollingUpdate: {{maxSurge: 50%}}}}}}}}
apps/v1 ReplicaSet: {{spec: {{selector: {SELECTOR}, template: {PODS}}}}}
apps/v1 StatefulSet: {{spec: {{selector: {SELECTOR}, template: {PODS}, serviceName: s}}}}
events.k8s.io/v1 Event:
  eventTime: '2024-01-01T00:00:00.123456Z'
  regarding: {{kind: Pod, name: p, namespace: default}}
  reportingController: example.com/c
  reportingInstance: i
  action: Do
  reason: R
  note: n
  type: Normal
autoscaling/v2 HorizontalPodAutoscaler:
  spec:
    maxReplicas: 3
    scaleTargetRef: {{kind: Deployment, name: d, apiVersion: apps/v1}}
    metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]
autoscaling/v1 HorizontalPodAutoscaler:
  spec: {{maxReplicas: 3, targetCPUUtilizationPercentage: 40, scaleTargetRef: {{kind: Deployment, name: d}}}}
batch/v1 CronJob: {{spec: {{schedule: '*/5 * * * *', jobTemplate: {{spec: {{template: {RUNS}}}}}}}}}
batch/v1 Job: {{spec: {{template: {RUNS}, completions: 2}}}}
certificates.k8s.io/v1 CertificateSigningRequest:
  spec: {{request: Zm9v, signerName: example.com/s, usages: [client auth], extra: {{a: [b]}}}}
networking.k8s.io/v1 Ingress:
  spec: {{rules: [{{host: a.example, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service:
    {{name: s, port: {{number: 80}}}}}}}}]}}}}]}}
networking.k8s.io/v1 IngressClass: {{spec: {{controller: example.com/c}}}}
networking.k8s.io/v1 NetworkPolicy:
  spec: {{podSelector: {SELECTOR}, policyTypes: [Ingress], ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/8,
    except: [10.1.0.0/16]}}}}, {{podSelector: {{}}}}], ports: [{{port: 80}}, {{port: 90, endPort: 95}}]}}]}}
networking.k8s.io/v1 IPAddress: {{metadata: {{name: 10.96.0.50}}, spec: {{parentRef: {{resource: services, name: s}}}}}}
networking.k8s.io/v1 ServiceCIDR: {{spec: {{cidrs: [10.97.0.0/16]}}}}
policy/v1 PodDisruptionBudget: {{spec: {{minAvailable: 50%, selector: {SELECTOR}}}}}
rbac.authorization.k8s.io/v1 Role: {{rules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]}}
rbac.authorization.k8s.io/v1 ClusterRole:
  rules: [{{nonResourceURLs: [/metrics], verbs: [get]}}]
  aggregationRule: {{clusterRoleSelectors: [{SELECTOR}]}}
rbac.authorization.k8s.io/v1 RoleBinding: {{roleRef: {{kind: Role, name: r}}, subjects: [{{kind: User, name: u}}]}}
rbac.authorization.k8s.io/v1 ClusterRoleBinding:
  roleRef: {{kind: ClusterRole, name: r}}
  subjects: [{{kind: ServiceAccount, name: s, namespace: default}}]
storage.k8s.io/v1 CSIDriver: {{spec: {{attachRequired: true}}}}
storage.k8s.io/v1 CSINode: {{spec: {{drivers: [{{name: d, nodeID: n, topologyKeys: [k]}}]}}}}
storage.k8s.io/v1 CSIStorageCapacity: {{storageClassName: s, capacity: 1Gi}}
storage.k8s.io/v1 StorageClass: {{provisioner: example.com/p, parameters: {{a: b}}}}
storage.k8s.io/v1 VolumeAttachment:
  spec: {{attacher: a, nodeName: n, source: {{persistentVolumeName: p}}}}
admissionregistration.k8s.io/v1 MutatingWebhookConfiguration: {{webhooks: [{HOOK}]}}
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration: {{webhooks: [{HOOK}]}}
admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy:
  spec: {{matchConstraints: {{resourceRules: [{RULE}]}}, validations: [{{expression: 'true'}}]}}
admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding: {{spec: {{policyName: p, validationActions: [Deny]}}}}
apiextensions.k8s.io/v1 CustomResourceDefinition:
  metadata: {{name: things.example.com}}
  spec:
    group: example.com
    scope: Namespaced
    names: {{kind: Thing, plural: things, singular: thing, listKind: ThingList}}
    versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object,
      properties: {{spec: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}}}}}]
scheduling.k8s.io/v1 PriorityClass: {{value: 1000}}
coordination.k8s.io/v1 Lease: {{spec: {{holderIdentity: h, leaseDurationSeconds: 5}}}}
node.k8s.io/v1 RuntimeClass: {{handler: h, overhead: {{podFixed: {{cpu: 1m}}}}}}
discovery.k8s.io/v1 EndpointSlice:
  addressType: IPv4
  endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: true}}, deprecatedTopology: {{a: b}}}}]
  ports: [{{port: 80, name: http}}]
flowcontrol.apiserver.k8s.io/v1 FlowSchema:
  spec: {{priorityLevelConfiguration: {{name: p}}, matchingPrecedence: 100}}
flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration:
  spec: {{type: Limited, limited: {{nominalConcurrencyShares: 1, limitResponse: {{type: Reject}}}}}}
"""
_SAMPLES: dict[str, Json] = yaml.safe_load(TEXT)
KINDS = [kind for kind in kinds.all_kinds() if kind.storable]


def sample(kind: Kind, name: str, namespace: str = "default") -> Json:
    """A manifest of one's own."""
    made = copy.deepcopy(_SAMPLES[f"{kind.group}/{kind.version} {kind.kind}"])
    meta = {"name": name, **made.get("metadata", {}), **({"namespace": namespace} if kind.namespaced else {})}
    for involved in ("involvedObject", "regarding"):
        if involved in made:
            made[involved]["namespace"] = namespace
    return {"apiVersion": kind.api_version, "kind": kind.kind, **made, "metadata": meta}


def path_of(kind: Kind, namespace: str = "default") -> str:
    """The collection's path."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**80, 1e300, "", "x", "1Gi", "2024", "\u0000", "a" * 300, [], [None],
    [1], ["x"], [[]], [{}], {}, {"a": 1}, {"a": None}, {"a": "b"}, {"": ""}, {"a": {"b": []}},
]  # fmt: skip


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything below a node."""
    if path:
        yield path
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, inner in steps:
        yield from places(inner, (*path, step))


def mutated(tree: Json, dice: random.Random) -> Json:
    """With one or two random values (half of them of the right JSON type) somewhere, or a new member in a map."""
    made = copy.deepcopy(tree)
    for _ in range(dice.randint(1, 2)):
        found = [p for p in places(made) if p[0] not in ("apiVersion", "kind") and p[-1] not in ("name", "namespace")]
        if not found:
            return made
        *parents, last = dice.choice(found)
        node: Any = made
        for step in parents:
            node = node[step]
        alike = [value for value in VALUES if type(value) is type(node[last])]
        node[last] = copy.deepcopy(dice.choice(alike if alike and dice.random() < 0.5 else VALUES))
        if isinstance(node, dict) and dice.random() < 0.1:
            node[dice.choice(["x", "a/b", "é", "y" * 70])] = copy.deepcopy(dice.choice(VALUES))
    return made


def test_nothing_is_missing() -> None:
    assert {f"{k.group}/{k.version} {k.kind}" for k in KINDS} == _SAMPLES.keys()
