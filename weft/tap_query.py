"""What a tap of live requests asks for, as it is written: on a sidecar's admin port and to the registry.

`status` (a gRPC status by name or number, an HTTP status, `5xx`; several with commas), `method`, `path` (what
it begins with), `source`, `destination`, `direction`, `failed` say which requests; `rate` (requests a second)
and `seconds` how much.
"""

import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from .errors import UsageError
from .grpc_status import STATUSES

RATE, RATE_MAX = 100.0, 1000.0  # requests a second that one tap may be told of; building one costs some 20 us
SECONDS, SECONDS_MAX = 60.0, 3600.0  # a tap that was forgotten ends by itself
VALUE_CHARS_MAX = 1024
FIELDS_MAX = 16
_TEXTS = {"method": "method", "path": "path_prefix", "source": "source", "destination": "destination"}
_CLASSES = {f"{first}xx": range(first * 100, first * 100 + 100) for first in range(1, 6)}
FIELDS = ("status", *_TEXTS, "direction", "failed", "rate", "seconds")


class InvalidTapQuery(UsageError):
    """Expected. Which field of the query is wrong, and what it may be."""


@dataclass(frozen=True, slots=True)
class TapFilter:
    """What a tap wants to see. Everything that is set must hold; one of the statuses is enough."""

    grpc_statuses: frozenset[int] = frozenset()
    http_statuses: frozenset[int] = frozenset()
    method: str = ""  # of HTTP, or the last part of a gRPC path
    path_prefix: str = ""
    source: str = ""
    destination: str = ""
    direction: str = ""  # "inbound", "outbound"
    failed: bool = False  # only those that failed


@dataclass(frozen=True, slots=True)
class TapQuery:
    filter: TapFilter
    rate: float  # requests a second
    seconds: float


def parse_tap(query: str) -> TapQuery:
    """Of a URL's query. Raises InvalidTapQuery."""
    said = _said(query)
    seconds = _number(said.pop("seconds", ""), "seconds", SECONDS, SECONDS_MAX)
    rate = _number(said.pop("rate", ""), "rate", RATE, RATE_MAX)
    return TapQuery(_filter(said), rate, seconds)


def _said(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise InvalidTapQuery(f"the query has more than {FIELDS_MAX} fields") from None
    said = dict(pairs)
    if len(said) < len(pairs):
        raise InvalidTapQuery("a field of the query is there twice; several statuses are separated by commas")
    for name, value in pairs:
        if len(value) > VALUE_CHARS_MAX:
            raise InvalidTapQuery(f"{name} is longer than {VALUE_CHARS_MAX} characters")
    return said


def _filter(said: dict[str, str]) -> TapFilter:
    wanted: dict[str, Any] = {field: said.pop(name) for name, field in _TEXTS.items() if name in said}
    if "status" in said:
        wanted |= _statuses(said.pop("status"))
    wanted["direction"] = _one_of(said, "direction", ("inbound", "outbound"), "")
    wanted["failed"] = _one_of(said, "failed", ("", "true", "false"), "false") != "false"
    if said:
        raise InvalidTapQuery(f"{next(iter(said))[:40]!r} is none of {', '.join(FIELDS)}")
    return TapFilter(**wanted)


def _one_of(said: dict[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = said.pop(name, default)
    if value not in (*choices, default):
        raise InvalidTapQuery(f"{name} is {value[:40]!r}, and may be {' or '.join(filter(None, choices))}")
    return value


def _statuses(text: str) -> dict[str, frozenset[int]]:
    grpc: set[int] = set()
    http: set[int] = set()
    for word in text.split(","):
        name = word.strip().upper()
        if name in STATUSES:
            grpc.add(STATUSES.index(name))
        elif name.lower() in _CLASSES:
            http.update(_CLASSES[name.lower()])
        elif name.isdecimal() and int(name) < len(STATUSES):
            grpc.add(int(name))
        elif name.isdecimal() and len(name) == 3 and 100 <= int(name) <= 599:
            http.add(int(name))
        else:
            raise InvalidTapQuery(f"status {word[:40]!r} is none: give UNAVAILABLE, 503 or 5xx")
    return {"grpc_statuses": frozenset(grpc), "http_statuses": frozenset(http)}


def _number(text: str, name: str, default: float, most: float) -> float:
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 < value <= most:
        raise InvalidTapQuery(f"{name} is {text[:40]!r}, and may be a number above 0, {most:g} at most")
    return value
