"""Durations as Go writes them, for Consul's API and our flags: `10s`, `1m30s`, `100ms`, `1.5h`.

Source: https://pkg.go.dev/time#ParseDuration and Duration.String.
"""

import re

from .errors import UsageError

_UNIT_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
NS_MAX = 2**63 - 1  # Go's Duration is an int64 of nanoseconds
TEXT_CHARS_MAX = 64  # "2562047h47m16.854775807s" needs 24


class InvalidDuration(UsageError):
    """Expected. The text is not a duration."""


def parse_duration_ns(text: str) -> int:
    """Nanoseconds. Raises InvalidDuration on anything that Go refuses."""
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    total = 0.0
    end = 0
    for term in _TERM.finditer(unsigned[:TEXT_CHARS_MAX]):
        if term.start() != end:
            break
        total += float(term[1]) * _UNIT_NS[term[2]]
        end = term.end()
    if not unsigned or end != len(unsigned) or total > NS_MAX:
        raise InvalidDuration(f"{text[:TEXT_CHARS_MAX]!r} is not a duration: write 10s, 1m30s or 100ms")
    return -round(total) if text[0] == "-" else round(total)


def parse_duration_s(text: str) -> float:
    """Seconds. Raises InvalidDuration."""
    return parse_duration_ns(text) / 10**9


def format_duration(seconds: float) -> str:
    """As Go's Duration.String: `1m30s`, `100ms`, `72h0m0s`, `0s`."""
    ns = round(abs(seconds) * 10**9)
    sign = "-" if seconds < 0 and ns else ""
    if ns < 10**9:
        return sign + _below_one_second(ns)
    minutes, rest_ns = divmod(ns, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest_ns, 10**9)}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else sign + text


def _below_one_second(ns: int) -> str:
    if ns == 0:
        return "0s"
    for unit, size in (("ms", 10**6), ("µs", 10**3)):
        if ns >= size:
            return f"{_decimal(ns, size)}{unit}"
    return f"{ns}ns"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = str(fraction).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
