"""resource.Quantity: `500m`, `1.5Gi`, `1e3` and their canonical form.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

PATTERN = re.compile(
    r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)"
)
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_LARGEST = Decimal(2**63 - 1)


def parse(text: str) -> Decimal:
    """The exact number, rounded up to nano as Kubernetes does. Raises ValueError with Kubernetes' wording."""
    match = PATTERN.fullmatch(text)
    if not match:
        raise ValueError(_ERROR)
    sign, number, exponent, suffix = match.groups()
    value = Decimal(number)
    if exponent:
        value = value.scaleb(int(exponent[1:])) if abs(int(exponent[1:])) <= 40 else Decimal(0)
    elif suffix in BINARY and suffix:
        value *= 2 ** BINARY[suffix]
    elif suffix:
        value = value.scaleb(DECIMAL[suffix])
    value = min(value, _LARGEST)
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_CEILING) if value < 10**12 else value
    return -value if sign == "-" else value


def canonical(text: str) -> str:
    """`1000m` -> `1`, `1024Ki` -> `1Mi`, `0.5` -> `500m`: largest suffix with no fraction, the format family kept."""
    value = parse(text)
    match = PATTERN.fullmatch(text)
    assert match
    _, _, exponent, suffix = match.groups()
    if value == 0:
        return "0"
    whole = value == value.to_integral_value()
    if suffix and suffix.endswith("i") and whole:
        return _binary(int(value))
    return _decimal(value, bool(exponent))


def _binary(value: int) -> str:
    for name, bits in reversed(BINARY.items()):
        if value % (1 << bits) == 0:
            return f"{value >> bits}{name}"
    return str(value)


def _decimal(value: Decimal, scientific: bool) -> str:
    for name, power in sorted(DECIMAL.items(), key=lambda item: -item[1]):
        scaled = value.scaleb(-power)
        if scaled == scaled.to_integral_value():
            if scientific:
                return f"{int(scaled)}e{power}" if power else str(int(scaled))
            return f"{int(scaled)}{name}"
    return f"{int(value.scaleb(9))}n"
