"""Which mechanism breaks what: the catalogue's other half. (A module of its own: it loads all of them.)"""

from __future__ import annotations

from .agents import ProxyStopped, RuleMissing
from .delay import Delay
from .dns import DnsDead, DnsSlow
from .mechanism import Mechanism
from .nftables import Bandwidth, Loss, Partition
from .objects import SelectorTypo, WrongTargetPort
from .wiring import ForwardingOff, LinkDown, MissingRoute, Mtu, NodeLost, WrongGateway


def mechanisms() -> dict[str, Mechanism]:
    """By the fault's name; fresh ones, since some hold what lives as long as the controller."""
    return {
        "link-down": LinkDown(),
        "node-lost": NodeLost(),
        "partition": Partition(),
        "loss": Loss(),
        "delay": Delay(),
        "bandwidth": Bandwidth(),
        "mtu": Mtu(),
        "dns-dead": DnsDead(),
        "dns-slow": DnsSlow(),
        "proxy-stopped": ProxyStopped(),
        "forwarding-off": ForwardingOff(),
        "missing-route": MissingRoute(),
        "wrong-gateway": WrongGateway(),
        "rule-missing": RuleMissing(),
        "selector-typo": SelectorTypo(),
        "wrong-target-port": WrongTargetPort(),
    }
