"""Lab 06: looks at the Service's endpoints, at what the customer really gets, and at the rules in the kernel."""

from collections import Counter

from minik8s_net import Cluster
from minik8s_net.lab.check import Verdict, check

PODS = ("shop-1", "shop-2", "shop-3")
TRIES = 90


@check("the Service has all three pods as endpoints", hint="a Service selects pods by their labels; is it spelt right?")
def endpoints(c: Cluster) -> Verdict:
    slices = c.get("endpointslices", labels="kubernetes.io/service-name=shop")
    behind = {e.targetRef.name for s in slices for e in s.endpoints or [] if e.targetRef and e.conditions.ready}
    return Verdict(", ".join(PODS), ", ".join(sorted(behind)) or "no endpoints", behind == set(PODS))


@check("a connection to http://shop is answered", hint="targetPort is the port on which the pods listen: 8080")
def answered(c: Cluster) -> Verdict:
    got = c.exec("customer", "curl -s -m 2 http://shop/hostname")
    return Verdict("the name of a shop pod", got.stdout or got.stderr.strip(), got.stdout in PODS)


@check("connections spread evenly over the three pods", hint="each of n endpoints should get 1/n of the connections")
def spread(c: Cluster) -> Verdict:
    loop = f"for i in $(seq {TRIES}); do curl -s -m 2 http://shop/hostname; echo; done"
    share = Counter(c.exec("customer", ["sh", "-c", loop]).stdout.split())
    mean, sigma = TRIES / 3, (TRIES * 1 / 3 * 2 / 3) ** 0.5
    even = set(share) == set(PODS) and all(abs(n - mean) < 4 * sigma for n in share.values())
    observed = ", ".join(f"{pod} {share[pod]}" for pod in PODS)
    return Verdict(f"about {mean:.0f} each, of {TRIES}", observed, even)


def rules_of(c: Cluster, node: str) -> str:
    """What translates Services on a node, in either proxy mode."""
    return str(c.shell(node, "iptables-save -t nat")) + str(c.shell(node, "nft list table ip kube-proxy"))


@check("the kernel of every node translates the Service's address", hint="minik8s shell node-1 -- iptables -t nat -S")
def rules(c: Cluster) -> Verdict:
    vip = c.get("service", "shop").spec.clusterIP
    nodes = [n.metadata.name for n in c.get("nodes")]
    having = [n for n in nodes if vip in rules_of(c, n)]
    return Verdict(f"a rule for {vip} on {', '.join(nodes)}", f"on {', '.join(having) or 'none'}", having == nodes)
