"""The query string, by the conventions that all `/v1` endpoints share."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from urllib.parse import urlencode

from multidict import MultiMapping

from weft.durations import InvalidDuration, parse_duration_s

from .errors import BadRequest, CasInvalid, NoSuchDatacenter

INDEX_MAX = 2**64 - 1
WAIT_DEFAULT_S = 300.0  # Consul's documented default
WAIT_MAX_S = 600.0  # Consul's documented maximum
_TENANCY = ("ns", "partition", "peer", "sameness-group")
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))  # Go's strconv.ParseBool
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_MAX_AGE = re.compile(r"(max-age|stale-if-error)=\d{1,10}|must-revalidate|no-cache")


class Consistency(StrEnum):
    """How sure a read must be; the value goes into X-Consul-Effective-Consistency."""

    DEFAULT = "leader"
    STALE = "stale"
    CONSISTENT = "consistent"


class Query:
    """A query string. Where a key is repeated and one value is meant, the first counts."""

    __slots__ = ("_values",)

    def __init__(self, values: MultiMapping[str]) -> None:
        self._values = values

    def flag(self, name: str) -> bool:
        """True when the key is present, whatever its value."""
        return name in self._values

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self._values.getall(name, ()))

    def pairs(self) -> Iterable[tuple[str, str]]:
        """All of it, in order."""
        return self._values.items()

    def boolean(self, name: str) -> bool:
        """A flag whose value counts: `?passing`, `?passing=true`. Raises BadRequest."""
        value = self._values.get(name)
        if value is None or value in _FALSE:
            return False
        if value == "" or value in _TRUE:
            return True
        raise BadRequest(f"Invalid value for ?{name}")

    def index(self) -> int:
        """The index to block for; 0 does not block. Raises BadRequest."""
        text = self.text("index")
        if text and (not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > INDEX_MAX):
            raise BadRequest("Invalid index")
        return int(text or 0)

    def unsigned(self, name: str) -> int | None:
        """A number of 64 bits; None where there is no such key. Raises CasInvalid."""
        text = self._values.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= INDEX_MAX):
            raise CasInvalid(text)
        return int(text)

    def encoded(self) -> str:
        """The whole of it, for messages: without the token (trap 28)."""
        return urlencode([(key, value) for key, value in self._values.items() if key != "token"])

    def wait_s(self) -> float:
        """How long to block, in seconds, jitter not included. Raises BadRequest."""
        try:
            wait_s = parse_duration_s(self.text("wait") or "0")
        except InvalidDuration:
            raise BadRequest("Invalid wait time") from None
        return min(wait_s, WAIT_MAX_S) if wait_s > 0 else WAIT_DEFAULT_S

    def node_meta(self) -> dict[str, str]:
        """`node-meta=k:v`, split at the first colon; a missing value is empty."""
        pairs = (text.partition(":") for text in self.all("node-meta"))
        return {key: value for key, _, value in pairs}

    def consistency(self, headers: Mapping[str, str]) -> Consistency:
        """Raises BadRequest where the flags exclude each other."""
        stale = self.flag("stale") or self.max_stale_s() is not None
        if self.flag("cached"):
            _check_cache_control(headers.get("Cache-Control", ""))
        if self.flag("consistent"):
            for other in ("stale", "cached"):
                if stale if other == "stale" else self.flag(other):
                    raise BadRequest(f"Cannot specify ?{other} with ?consistent, conflicting semantics.")
            return Consistency.CONSISTENT
        return Consistency.STALE if stale else Consistency.DEFAULT

    def max_stale_s(self) -> float | None:
        """How old a stale answer may be, in seconds; None does not bound it. Raises BadRequest."""
        text = self.text("max_stale")
        try:
            return parse_duration_s(text) if text else None
        except InvalidDuration:
            raise BadRequest(f'Invalid max_stale value "{text}"') from None

    def check_scope(self, datacenter: str) -> None:
        """Refuses what this registry does not hold: other datacenters and tenants.

        Raises NoSuchDatacenter or BadRequest.
        """
        if self.text("dc") not in ("", datacenter):
            raise NoSuchDatacenter
        for name in _TENANCY:
            if self.text(name) not in ("", "default"):
                raise BadRequest(f'Invalid query parameter: "{name}": leave it out or use "default"')


def _check_cache_control(header: str) -> None:
    for directive in filter(None, (part.strip().lower() for part in header.split(","))):
        if not _MAX_AGE.fullmatch(directive):
            raise BadRequest("Invalid Cache-Control header.")
