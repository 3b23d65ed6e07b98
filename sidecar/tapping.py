"""`/tap` of the admin port: live requests, one JSON object a line, for as long as somebody reads.

Its query says which: `status` (a gRPC status by name or number, an HTTP status, `5xx`; several with commas),
`method`, `path` (what it begins with), `source`, `destination`, `direction`, `failed`; and how much: `rate`
(requests a second), `seconds`.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import orjson

from .calls import EndedCall
from .errors import InvalidQuery
from .outlets import Outlets
from .spans import GRPC_STATUSES
from .tap import RATE_MAX, Tap, TapFilter

RATE = 100.0  # where the query says nothing
SECONDS, SECONDS_MAX = 60.0, 3600.0  # a tap that was forgotten ends by itself
VALUE_CHARS_MAX = 1024
FIELDS_MAX = 16
_TEXTS = {"method": "method", "path": "path_prefix", "source": "source", "destination": "destination"}
_CLASSES = {f"{first}xx": range(first * 100, first * 100 + 100) for first in range(1, 6)}


class Feed:
    """What one reader of `/tap` gets. `seconds` is how long."""

    content_type = "application/x-ndjson"

    def __init__(self, tap: Tap, seconds: float) -> None:
        self._tap = tap
        self.seconds = seconds

    async def next(self, wait_s: float) -> bytes:
        """The lines that wait; b"" where none came in `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                told = [await self._tap.queue.get()]
        except TimeoutError:
            return b""
        while not self._tap.queue.empty():
            told.append(self._tap.queue.get_nowait())
        return b"".join([orjson.dumps(_line(ended), option=orjson.OPT_APPEND_NEWLINE) for ended in told])


def _line(ended: EndedCall) -> dict[str, Any]:
    return {"time": round(ended.started_s, 3), **ended.document(), "headers": ended.headers}


@contextmanager
def tapped(outlets: Outlets, query: str) -> Iterator[Feed]:
    """A feed of what `query` asks for. Raises InvalidQuery, TapsFull."""
    said = _said(query)
    seconds = _number(said.pop("seconds", ""), "seconds", SECONDS, SECONDS_MAX)
    rate = _number(said.pop("rate", ""), "rate", RATE, RATE_MAX)
    with outlets.tapped(_filter(said), rate) as tap:
        yield Feed(tap, seconds)


def _said(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise InvalidQuery(f"the query has more than {FIELDS_MAX} fields") from None
    said = dict(pairs)
    if len(said) < len(pairs):
        raise InvalidQuery("a field of the query is there twice; several statuses are separated by commas")
    for name, value in pairs:
        if len(value) > VALUE_CHARS_MAX:
            raise InvalidQuery(f"{name} is longer than {VALUE_CHARS_MAX} characters")
    return said


def _filter(said: dict[str, str]) -> TapFilter:
    wanted: dict[str, Any] = {field: said.pop(name) for name, field in _TEXTS.items() if name in said}
    if "status" in said:
        wanted |= _statuses(said.pop("status"))
    wanted["direction"] = _one_of(said, "direction", ("inbound", "outbound"), "")
    wanted["failed"] = _one_of(said, "failed", ("", "true", "false"), "false") != "false"
    if said:
        names = ", ".join(("status", *_TEXTS, "direction", "failed", "rate", "seconds"))
        raise InvalidQuery(f"{next(iter(said))[:40]!r} is none of {names}")
    return TapFilter(**wanted)


def _one_of(said: dict[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = said.pop(name, default)
    if value not in (*choices, default):
        raise InvalidQuery(f"{name} is {value[:40]!r}, and may be {' or '.join(filter(None, choices))}")
    return value


def _statuses(text: str) -> dict[str, frozenset[int]]:
    grpc: set[int] = set()
    http: set[int] = set()
    for word in text.split(","):
        name = word.strip().upper()
        if name in GRPC_STATUSES:
            grpc.add(GRPC_STATUSES.index(name))
        elif name.lower() in _CLASSES:
            http.update(_CLASSES[name.lower()])
        elif name.isdecimal() and int(name) < len(GRPC_STATUSES):
            grpc.add(int(name))
        elif name.isdecimal() and len(name) == 3 and 100 <= int(name) <= 599:
            http.add(int(name))
        else:
            raise InvalidQuery(f"status {word[:40]!r} is none: give UNAVAILABLE, 503 or 5xx")
    return {"grpc_statuses": frozenset(grpc), "http_statuses": frozenset(http)}


def _number(text: str, name: str, default: float, most: float) -> float:
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 < value <= most:
        raise InvalidQuery(f"{name} is {text[:40]!r}, and may be a number above 0, {most:g} at most")
    return value
