"""Who is selected by what, and who is a member of which set: kept up to date change by change, once per cluster.

Every node's enforcer shares one index. A change costs what it touches: a pod is matched against the policies of its
namespace and the existing sets, a policy against the pods of its namespace; nothing is computed anew for the rest.
Use from the event loop's thread only: watch handlers update it inside the commit, so it is never behind the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.networking_v1 import NetworkPolicy

from ..store.client import Change, Client
from .model import Key, Labels, PodFacts, Policy, compile_policy, pod_facts
from .sets import PeerSet, sets_of

if TYPE_CHECKING:
    from .enforcer import Enforcer

_versions = count()  # never the same for two states of two sets
Listener = Callable[[PodFacts], None]


class LiveSet:
    """A `PeerSet` and its members now. Two contributors of one member (a pod inside an ipBlock) count twice."""

    def __init__(self, spec: PeerSet) -> None:
        self.spec, self.users, self.version = spec, 0, next(_versions)
        self.members: Counter[str] = Counter(spec.fixed())
        self._of_pod: dict[Key, str] = {}

    def update(self, key: Key, member: str | None) -> bool:
        """Make `member` what pod `key` contributes. Says whether that changed anything."""
        old = self._of_pod.get(key)
        if old == member:
            return False
        if old is not None:
            self.members[old] -= 1
            if not self.members[old]:
                del self.members[old]
            del self._of_pod[key]
        if member is not None:
            self.members[member] += 1
            self._of_pod[key] = member
        self.version = next(_versions)
        return True


class PolicyIndex:
    """Build one per cluster and hand it to every `Enforcer`. Works at once for all that exists."""

    def __init__(self, client: Client | None = None) -> None:
        self.pods: dict[Key, PodFacts] = {}
        self.policies: dict[Key, Policy] = {}
        self.objects: dict[Key, NetworkPolicy] = {}  # the same policies, as the API has them
        self.sets: dict[str, LiveSet] = {}
        self.namespaces: dict[str, Labels] = {}
        self._at: dict[str, dict[str, Key]] = {}  # address -> uid -> pod; the last to claim it owns it
        self._in_namespace: dict[str, dict[Key, None]] = {}
        self._policies_in: dict[str, dict[Key, Policy]] = {}
        self._selected_by: dict[Key, dict[Key, Policy]] = {}  # pod -> policies
        self._listeners: list[Listener] = []
        self.enforcers: dict[str, Enforcer] = {}  # by node, those that run
        self._unwatch: list[Callable[[], None]] = []
        if client is not None:
            self._unwatch = [
                client.watch(Namespace, self._namespace_changed),
                client.watch(NetworkPolicy, self._policy_changed),
                client.watch(Pod, self._pod_changed),
            ]

    def close(self) -> None:
        """Stop following the objects."""
        for end in self._unwatch:
            end()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each pod whose rules, membership or address changed. Returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- questions ---------------------------------------------------------------------------------------------------
    def owner(self, ip: str) -> PodFacts | None:
        """The pod that has this address now."""
        claims = self._at.get(ip)
        return self.pods.get(next(reversed(claims.values()))) if claims else None

    def on_node(self, node: str) -> list[PodFacts]:
        """The policed pods of a node."""
        return [pod for pod in self.pods.values() if pod.node == node]

    def policies_of(self, pod: PodFacts) -> list[Policy]:
        """The policies that select the pod, ordered by name."""
        return [policy for _, policy in sorted(self._selected_by.get(pod.key, {}).items())]

    # -- watch handlers ----------------------------------------------------------------------------------------------
    def _pod_changed(self, change: Change[Pod]) -> None:
        meta = change.new.metadata
        assert meta is not None
        self.set_pod((meta.namespace or "", meta.name or ""), None if _gone(change) else pod_facts(change.new))

    def _namespace_changed(self, change: Change[Namespace]) -> None:
        meta = change.new.metadata
        assert meta is not None
        self.set_namespace(meta.name or "", None if _gone(change) else (meta.labels or {}))

    def _policy_changed(self, change: Change[NetworkPolicy]) -> None:
        meta = change.new.metadata
        assert meta is not None
        self.set_policy((meta.namespace or "", meta.name or ""), None if _gone(change) else change.new)

    # -- changes -----------------------------------------------------------------------------------------------------
    def set_pod(self, key: Key, pod: PodFacts | None) -> None:
        """A pod is now this; None: it is gone."""
        old = self.pods.get(key)
        if pod == old:
            return
        if old is not None:
            del self.pods[key]
            if pod is None or (pod.ip, pod.uid) != (old.ip, old.uid):
                self._drop_claim(old)
        if pod is not None:
            self.pods[key] = pod
            self._at.setdefault(pod.ip, {})[pod.uid] = key
        self._rematch(key, old)
        affected = [p for p in (old, pod) if p is not None]
        for ip in {p.ip for p in affected}:  # another claimant of the address comes to light, or is covered
            affected += [self.pods[k] for k in self._at.get(ip, {}).values() if k != key]
            for k in self._at.get(ip, {}).values():
                self._rematch(k, self.pods[k])
        self._tell(affected)

    def set_namespace(self, name: str, labels: Labels | None) -> None:
        """A namespace has these labels now; None: it is gone."""
        if self.namespaces.get(name) == labels:
            return
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = labels
        pods = [self.pods[k] for k in self._in_namespace.get(name, ())]
        self._tell([pod for pod in pods if self._update_sets(pod.key)])

    def set_policy(self, key: Key, obj: NetworkPolicy | None) -> None:
        """A policy is now this; None: it is gone."""
        policy = None if obj is None else compile_policy(obj)
        if obj is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        old = self.policies.get(key)
        if old == policy:
            return
        pods = [self.pods[k] for k in self._in_namespace.get(key[0], ())]
        if policy is not None:
            for name, spec in sets_of(policy).items():
                self._use(name, spec)
            self.policies[key] = self._policies_in.setdefault(key[0], {})[key] = policy
        else:
            del self.policies[key], self._policies_in[key[0]][key]
        if old is not None:
            for name in sets_of(old):
                self._release(name)
        affected = [pod for pod in pods if self._reselect(pod, key, policy)]
        self._tell(affected)

    # -- the work ----------------------------------------------------------------------------------------------------
    def _reselect(self, pod: PodFacts, key: Key, policy: Policy | None) -> bool:
        """Selected before or after: what the policy says of the pod has changed."""
        selected = self._selected_by.setdefault(pod.key, {})
        before = selected.pop(key, None)
        if policy is not None and policy.selects(pod):
            selected[key] = policy
            return True
        return before is not None

    def _rematch(self, key: Key, old: PodFacts | None) -> None:
        pod = self.pods.get(key)
        if pod is None:
            self._selected_by.pop(key, None)
            if old is not None:
                self._in_namespace[old.namespace].pop(key, None)
        else:
            self._in_namespace.setdefault(pod.namespace, {})[key] = None
            policies = self._policies_in.get(pod.namespace, {})
            self._selected_by[key] = {k: p for k, p in policies.items() if p.selects(pod)}
        self._update_sets(key)

    def _update_sets(self, key: Key) -> bool:
        changed = [live.update(key, self._member(live.spec, key)) for live in self.sets.values()]
        return any(changed)

    def _member(self, spec: PeerSet, key: Key) -> str | None:
        pod = self.pods.get(key)
        if pod is None or self.owner(pod.ip) is not pod:
            return None
        return spec.member(pod, self.namespaces.get(pod.namespace))

    def _use(self, name: str, spec: PeerSet) -> None:
        if name not in self.sets:
            live = self.sets[name] = LiveSet(spec)
            for key in self.pods:
                live.update(key, self._member(spec, key))
        self.sets[name].users += 1

    def _release(self, name: str) -> None:
        self.sets[name].users -= 1
        if not self.sets[name].users:
            del self.sets[name]

    def _drop_claim(self, pod: PodFacts) -> None:
        claims = self._at[pod.ip]
        claims.pop(pod.uid, None)
        if not claims:
            del self._at[pod.ip]

    def _tell(self, pods: Iterable[PodFacts]) -> None:
        for pod in pods:
            for listener in self._listeners:
                listener(pod)


def _gone(change: Change[Any]) -> bool:
    return change.type == "DELETED"
