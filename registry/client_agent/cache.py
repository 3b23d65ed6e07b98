"""Sans-IO. Answers that this agent gave lately, for when no server can be asked; bounded in bytes and count.

A key holds every input of an answer: the path, the query but for what only says how to wait for it, the
token, what that token allowed (a fingerprint of its rules), and the encoding that the client takes. Times
are seconds on a monotonic clock.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

BYTES_MAX = 32 * 1024 * 1024  # of bodies and keys; an agent shares its machine with what it serves
ENTRY_BYTES_MAX = 4 * 1024 * 1024  # 10,000 instances, compressed or not
ENTRIES_MAX = 4096
_ENTRY_OVERHEAD_BYTES = 1024  # headers and objects
_NO_INPUT = frozenset(("index", "wait", "hash", "cached", "stale", "max_stale", "token"))
"""Parameters that say how to wait or how sure to be, and not what to answer; the token is in the key."""
_DISCOVERY = (
    "/v1/agent/connect/ca/roots",
    "/v1/catalog/connect/",
    "/v1/catalog/datacenters",
    "/v1/catalog/gateway-services/",
    "/v1/catalog/node/",
    "/v1/catalog/node-services/",
    "/v1/catalog/nodes",
    "/v1/catalog/service/",
    "/v1/catalog/services",
    "/v1/connect/ca/roots",
    "/v1/health/",
)
_EXECUTE = "/execute"  # of a prepared query


class Key(NamedTuple):
    """What an answer depends on."""

    target: str
    secret: str
    fingerprint: str
    encoding: str

    def __repr__(self) -> str:
        return f"Key({self.target!r})"  # never the secret


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that may be given again; without asking for `fresh_s` seconds."""

    headers: Mapping[str, str]
    body: bytes
    at: float
    fresh_s: float = 0.0

    def age_s(self, now: float) -> float:
        return max(0.0, now - self.at)


def is_discovery(path: str) -> bool:
    """Whether answers by this path are kept: what clients find services by, and no secrets or locks."""
    return path.startswith(_DISCOVERY) or (path.startswith("/v1/query/") and path.endswith(_EXECUTE))


def key_of(target: str, secret: str, fingerprint: str, accept_encoding: str) -> Key:
    """`target` is what a server is asked, with its query."""
    path, _, query = target.partition("?")
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in _NO_INPUT]
    # Length before each part: no value can look like the end of another.
    shown = "".join(f"{len(part)}:{part}" for pair in pairs for part in pair)
    encoding = "gzip" if "gzip" in accept_encoding.lower() else ""
    return Key(f"{path}?{shown}", secret, fingerprint, encoding)


class Cache:
    """The least recently asked for goes first."""

    def __init__(self, bytes_max: int = BYTES_MAX, entries_max: int = ENTRIES_MAX) -> None:
        self._bytes_max = bytes_max
        self._entries_max = entries_max
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Kept | None:
        found = self._kept.get(key)
        if found:
            self._kept.move_to_end(key)
        return found

    def put(self, key: Key, kept: Kept) -> None:
        self.drop(key)
        size = _size(key, kept)
        if len(kept.body) > ENTRY_BYTES_MAX or size > self._bytes_max:
            return
        self._kept[key] = kept
        self.size_bytes += size
        while self.size_bytes > self._bytes_max or len(self._kept) > self._entries_max:
            self.drop(next(iter(self._kept)))

    def drop(self, key: Key) -> None:
        if found := self._kept.pop(key, None):
            self.size_bytes -= _size(key, found)


def _size(key: Key, kept: Kept) -> int:
    return len(kept.body) + sum(map(len, key)) + _ENTRY_OVERHEAD_BYTES
