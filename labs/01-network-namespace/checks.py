"""Lab 01: looks at the namespaces' inodes, their addresses and routes, and at what pings whom."""

from ipaddress import ip_address, ip_network

from minik8s_net import Cluster
from minik8s_net.lab.check import Verdict, check

BY_HAND = {"hand-a": "10.1.0.2", "hand-b": "10.1.0.3"}
PODS = ("left", "right")


def in_hand(c: Cluster, namespace: str, command: str) -> str:
    """What a command says in a namespace of the workshop; its error where there is none."""
    return str(c.shell("outside", f"ip netns exec {namespace} {command}")).strip()


def pings(said: str) -> bool:
    return " 1 received" in said


@check("hand-a and hand-b are two namespaces", hint="in `minik8s shell outside`: ip netns add hand-a")
def two_by_hand(c: Cluster) -> Verdict:
    seen = {name: in_hand(c, name, "readlink /proc/self/ns/net") for name in BY_HAND}
    own = str(c.shell("outside", "readlink /proc/self/ns/net")).strip()
    apart = len({*seen.values(), own}) == 3 and all(inode.startswith("net:[") for inode in seen.values())
    return Verdict("two inodes, neither that of outside", ", ".join(f"{k}: {v}" for k, v in seen.items()), apart)


@check("each has its address", hint="ip -n hand-a addr add 10.1.0.2/24 dev eth0")
def addresses_by_hand(c: Cluster) -> Verdict:
    seen = {name: in_hand(c, name, "ip -br -4 addr") for name in BY_HAND}
    ok = all(f"{ip}/" in seen[name] for name, ip in BY_HAND.items())
    observed = "; ".join(f"{name}: {' '.join(said.split()) or 'none'}" for name, said in seen.items())
    return Verdict(", ".join(f"{ip} in {name}" for name, ip in BY_HAND.items()), observed, ok)


@check("they ping each other", hint="both ends of each veth must be up, and so must the bridge")
def ping_by_hand(c: Cluster) -> Verdict:
    pairs = (("hand-a", BY_HAND["hand-b"]), ("hand-b", BY_HAND["hand-a"]))
    failed = [f"{name} to {ip}" for name, ip in pairs if not pings(in_hand(c, name, f"ping -c 1 -W 1 {ip}"))]
    return Verdict(
        "an answer both ways", f"none from {', '.join(failed)}" if failed else "answers both ways", not failed
    )


@check(
    "left and right run on two nodes, each in a namespace of its own",
    hint="no hostNetwork; nodeName: node-1 and node-2",
)
def two_pods(c: Cluster) -> Verdict:
    nodes = [c.get("pod", name).spec.nodeName for name in PODS]
    inodes = [c.exec(name, "readlink /proc/self/ns/net").stdout.strip() for name in PODS]
    hosts = [str(c.shell(node, "readlink /proc/self/ns/net")).strip() for node in nodes]
    apart = len({*inodes, *hosts}) == 4 and len(set(nodes)) == 2
    observed = ", ".join(f"{p} on {n}: {i}" for p, n, i in zip(PODS, nodes, inodes, strict=True))
    return Verdict("two nodes, and four inodes: of each pod and of each node", observed, apart)


@check("their addresses are from their nodes' pod ranges", hint="minik8s get nodes -o yaml: spec.podCIDR")
def addresses_of_pods(c: Cluster) -> Verdict:
    pods = [c.get("pod", name) for name in PODS]
    ranges = {node.metadata.name: node.spec.podCIDR for node in c.get("nodes")}
    ok = all(ip_address(p.status.podIP) in ip_network(ranges[p.spec.nodeName]) for p in pods)
    observed = ", ".join(f"{p.status.podIP} of {ranges[p.spec.nodeName]}" for p in pods)
    return Verdict("each in the range of its node", observed, ok)


@check("left and right ping each other", hint="are both Running? minik8s get pods -o wide")
def ping_pods(c: Cluster) -> Verdict:
    ips = {name: c.get("pod", name).status.podIP for name in PODS}
    pairs = (("left", ips["right"]), ("right", ips["left"]))
    failed = [f"{name} to {ip}" for name, ip in pairs if not pings(str(c.exec(name, f"ping -c 1 -W 1 {ip}")))]
    return Verdict(
        "an answer both ways", f"none from {', '.join(failed)}" if failed else "answers both ways", not failed
    )
