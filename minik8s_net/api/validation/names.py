"""Names and values Kubernetes accepts, each check returning the sentences of what is wrong (empty: nothing).

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ ; RFC 1035, RFC 1123.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Any

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SEARCH_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH = rf"{_SEARCH_LABEL}(\.{_SEARCH_LABEL})*"
_DNS_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_NAME_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_NAME_PART})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
PORT_RANGE = "must be between 1 and 65535, inclusive"
IP_ERROR = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_ERROR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def _too_long(value: str, limit: int) -> list[str]:
    return [f"must be no more than {limit} characters"] if len(value) > limit else []


def _regex_error(message: str, pattern: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{e}'" for e in examples)
    return f"{message} (e.g. {shown}, regex used for validation is '{pattern}')"


def _matching(value: str, limit: int, pattern: str, message: str, *examples: str) -> list[str]:
    """Complaints about a value that is longer than `limit` characters, or not of the pattern."""
    errors = _too_long(value, limit)
    return errors if re.fullmatch(pattern, value) else [*errors, _regex_error(message, pattern, *examples)]


def dns_label(value: str) -> list[str]:
    """RFC 1123 label."""
    message = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return _matching(value, 63, _LABEL, message, "my-name", "123-abc")


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: most objects' names."""
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _matching(value, 253, _SUBDOMAIN, message, "example.com")


def search_domain(value: str) -> list[str]:
    """A subdomain whose labels may have underscores, as `_tcp.web` (RelaxedDNSSearchValidation, on since 1.33)."""
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _matching(value, 253, _SEARCH, message, "example.com")


def wildcard(value: str) -> list[str]:
    """`*.` and a subdomain: hosts of Ingresses."""
    message = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
        "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return _matching(value, 253, rf"\*\.{_SUBDOMAIN}", message, "*.example.com")


def dns_1035(value: str) -> list[str]:
    """RFC 1035 label: Services' names."""
    message = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character"
    )
    return _matching(value, 63, _DNS_1035, message, "my-name", "abc-123")


def path_segment(value: str) -> list[str]:
    """Names of RBAC objects: anything one path segment can hold."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in value]


def qualified_name(value: str) -> list[str]:
    """Label and annotation keys: `[prefix/]name`."""
    prefix, slash, name = value.rpartition("/")
    shown = _regex_error(
        "must consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character",
        _NAME_PART, "MyName", "my.name", "123-abc",
    )  # fmt: skip
    if "/" in prefix:
        return [f"a qualified name {shown} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    errors = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        errors += [f"prefix part {e}" for e in dns_subdomain(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append("name part must be no more than 63 characters")
    if not re.fullmatch(_NAME_PART, name):
        errors.append(f"name part {shown}")
    return errors


def label_value(value: str) -> list[str]:
    """At most 63 characters of a label's value."""
    message = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _matching(value, 63, _VALUE, message, "MyValue", "my_value", "12345")


def port_number(value: Any) -> list[str]:
    """1 to 65535."""
    return [] if isinstance(value, int) and 1 <= value <= 65535 else [PORT_RANGE]


def port_name(value: str) -> list[str]:
    """IANA service name: at most 15 of a-z, 0-9 and '-', with a letter, no '--', no '-' at either end."""
    errors = _too_long(value, 15)
    if not re.fullmatch("[-a-z0-9]+", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_or_name(value: int | str) -> list[str]:
    """A port's number or its IANA name."""
    return port_number(value) if isinstance(value, int) else port_name(value)


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret. None begins with `..`: in a volume those names are the kubelet's own."""
    message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    errors = _matching(value, 253, _CONFIG_KEY, message, "key.name", "KEY_NAME", "key-name")
    if value in (".", ".."):
        errors = [*errors, f"must not be '{value}'"]
    elif value.startswith(".."):
        errors = [*errors, "must not start with '..'"]
    return errors


def env_name(value: str) -> list[str]:
    """Any printable ASCII without '='."""
    if value and all(" " <= c <= "~" and c != "=" for c in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


@functools.lru_cache(8192)  # when one of many endpoints changes, all the others come again
def address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that this is, or None."""
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def ip(value: str) -> list[str]:
    """An IPv4 or IPv6 address."""
    return [] if address(value) else [IP_ERROR]


def cidr(value: str) -> list[str]:
    """An address and a prefix length."""
    if "/" in value:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            return [CIDR_ERROR]
        if re.fullmatch(r"[0-9]{1,3}", value.rpartition("/")[2]):
            return []
    return [CIDR_ERROR]
