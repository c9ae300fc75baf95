"""What a cluster is made of: names, address ranges, nodes and modes.

Read from flags, a YAML file (`minik8s up --config`), or Python. Pure data; nothing here touches the kernel.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

CNI_MODES = ("host-gw", "vxlan")
PROXY_MODES = ("iptables", "nftables")
RUNTIMES = ("process", "docker")
MAX_NODES = 250
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class ConfigError(ValueError):
    """A cluster configuration that cannot be: says the field, the value and what is allowed."""


def is_name(name: object) -> bool:
    """Whether this can be a cluster's name, and the name of its folder."""
    return isinstance(name, str) and len(name) <= 40 and _DNS_LABEL.fullmatch(name) is not None


def check_name(name: object) -> None:
    """Raises ConfigError for what cannot be a cluster's name."""
    if not is_name(name):
        raise ConfigError(f'name: Invalid value: "{name}": a lowercase RFC 1123 label of at most 40 characters')


@dataclass(frozen=True)
class ClusterConfig:
    """One cluster. Addresses are the same in every cluster: namespaces keep them apart."""

    name: str = "minik8s"
    nodes: int = 2
    cni: str = "host-gw"
    proxy_mode: str = "iptables"
    runtime: str = "process"
    heal: bool = True
    fabric_cidr: str = "172.18.0.0/16"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    cluster_domain: str = "cluster.local"
    load_balancer_cidr: str = ""  # addresses of type LoadBalancer Services; "": the fabric's 200th /24

    def __post_init__(self) -> None:
        check_name(self.name)
        if type(self.nodes) is not int:
            raise ConfigError(f"nodes: Invalid value: {self.nodes!r}: must be a whole number")
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError(f"nodes: Invalid value: {self.nodes}: must be between 1 and {MAX_NODES}, inclusive")
        for field, allowed in (("cni", CNI_MODES), ("proxy_mode", PROXY_MODES), ("runtime", RUNTIMES)):
            value = getattr(self, field)
            if value not in allowed:
                supported = ", ".join(f'"{v}"' for v in allowed)
                raise ConfigError(f'{field}: Unsupported value: "{value}": supported values: {supported}')
        if not isinstance(self.heal, bool):
            raise ConfigError(f'heal: Invalid value: "{self.heal}": must be true or false')
        self._check_domain()
        networks: dict[str, IPv4Network] = {}
        for field in ("fabric_cidr", "pod_cidr", "service_cidr"):
            try:
                network = IPv4Network(getattr(self, field))
            except ValueError as error:
                raise ConfigError(f'{field}: Invalid value: "{getattr(self, field)}": {error}') from None
            if network.prefixlen > 16:
                raise ConfigError(f'{field}: Invalid value: "{network}": must be a /16 or larger')
            for other, taken in networks.items():
                if network.overlaps(taken):
                    raise ConfigError(f'{field}: Invalid value: "{network}": overlaps {other} {taken}')
            networks[field] = network
        self._check_pool()

    def _check_domain(self) -> None:
        """Names below it must fit into 255 bytes (RFC 1035): SERVICE.NAMESPACE.svc takes up to 132 of them."""
        domain = self.cluster_domain
        fits = isinstance(domain, str) and len(domain) <= 120
        if not fits or not all(_DNS_LABEL.fullmatch(part) and len(part) <= 63 for part in domain.split(".")):
            allowed = "a lowercase RFC 1123 subdomain of at most 120 characters, 63 between dots"
            raise ConfigError(f'cluster_domain: Invalid value: "{domain}": must be {allowed}')

    def _check_pool(self) -> None:
        field, given = "load_balancer_cidr", self.load_balancer_cidr
        try:
            pool = self.load_balancer_pool
        except ValueError as error:
            raise ConfigError(f'{field}: Invalid value: "{given}": {error}') from None
        hosts = IPv4Network((int(self.fabric.network_address), 23))  # the fabric itself, outside, the nodes
        if not pool.subnet_of(self.fabric) or pool.overlaps(hosts) or pool.prefixlen > 30:
            allowed = f"a /30 or larger within the fabric {self.fabric}, outside of {hosts}"
            raise ConfigError(f'{field}: Invalid value: "{given}": must be {allowed}')

    # -- addresses ---------------------------------------------------------------------------------------------
    @property
    def fabric(self) -> IPv4Network:
        """The whole of the fabric's network, e.g. 172.18.0.0/16."""
        return IPv4Network(self.fabric_cidr)

    @property
    def fabric_ip(self) -> IPv4Address:
        """The fabric itself: the nodes' default gateway (which forwards nothing) and the API server's address."""
        return self.fabric.network_address + 1

    @property
    def outside_ip(self) -> IPv4Address:
        """The host on the fabric that is no part of the cluster."""
        return self.fabric.network_address + 2

    def node_name(self, index: int) -> str:
        """Of node `index` (from 1): `node-1`."""
        return f"node-{index}"

    def node_index(self, node: str) -> int:
        """`node-3` -> 3. Raises ConfigError for a name that is not a node of ours."""
        match = re.fullmatch(r"node-([1-9][0-9]{0,2})", node)
        if not match or int(match[1]) > MAX_NODES:
            raise ConfigError(f'node: Invalid value: "{node}": must be node-1 … node-{MAX_NODES}')
        return int(match[1])

    def node_ip(self, index: int) -> IPv4Address:
        """node-3 is 172.18.1.3 on the fabric; its pods are 10.244.3.0/24."""
        return self.fabric.network_address + 256 + index

    def node_pod_cidr(self, index: int) -> IPv4Network:
        """The pod addresses of node `index`: 10.244.1.0/24."""
        base = int(IPv4Network(self.pod_cidr).network_address) + 256 * index
        return IPv4Network((base, 24))

    @property
    def dns_ip(self) -> IPv4Address:
        """Where `kube-dns` answers: the tenth address of the Service range."""
        return IPv4Network(self.service_cidr).network_address + 10

    @property
    def api_service_ip(self) -> IPv4Address:
        """`kubernetes.default`. Not .1, which seed.md's own Service claims."""
        return IPv4Network(self.service_cidr).network_address + 2

    @property
    def load_balancer_pool(self) -> IPv4Network:
        """Addresses of type LoadBalancer Services: 172.18.200.0/24 unless configured."""
        if self.load_balancer_cidr:
            return IPv4Network(self.load_balancer_cidr)
        return IPv4Network((int(self.fabric.network_address) + 200 * 256, 24))

    # -- names of network namespaces ------------------------------------------------------------------------------
    def netns(self, short: str) -> str:
        """`fabric`, `outside` or a node's name -> the name of its network namespace."""
        return f"{self.name}.{short}"

    # -- reading and writing ---------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, as cluster.json keeps it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClusterConfig:
        """The inverse of `to_dict`; missing fields take their defaults. Raises ConfigError for unknown or bad ones."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f'unknown field "{unknown[0]}": allowed are {", ".join(sorted(known))}')
        return cls(**values)

    @classmethod
    def from_file(cls, path: Path, **overrides: Any) -> ClusterConfig:
        """A YAML map of the fields above, e.g. `{nodes: 3, cni: vxlan}`."""
        import yaml

        try:
            values = yaml.safe_load(path.read_text()) or {}
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: not YAML: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected a map of settings, found {type(values).__name__}")
        return cls.from_dict({**values, **overrides})


def is_ipv4(text: str) -> bool:
    """Whether `text` is a dotted IPv4 address."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
