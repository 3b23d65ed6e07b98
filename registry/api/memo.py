"""Answers of reads, kept as the bytes that are sent: the same question by a caller with the same rights costs
its encoding once, and so does a change that many parked queries wait for.

A key holds every input of the answer: the path, the whole query but for what says how to wait, and what the
caller may do (traps 11 and 26). An answer counts as long as nothing that it was made of has moved: then its
index is the one that the state gives for the same things now.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from ..acl.authorizer import Authorizer
from ..catalog.state import State
from .handling import Answer
from .query import Query
from .respond import Encoded, json_bytes

BYTES_MAX = 32 * 1024 * 1024
"""Of all bodies, not counting their compressed forms; then those asked for least lately go."""

ENTRIES_MAX = 8192
ENTRY_BYTES_MAX = 1024 * 1024
"""A larger answer is sent and forgotten: a few of them would push out all others."""

_NOT_THE_ANSWERS = frozenset(
    ("index", "wait", "stale", "consistent", "max_stale", "cached", "leader", "token")
)
"""Parameters about when to answer, and who asks: who asks is in the key by what he may do."""


class Key(NamedTuple):
    """`may` is one object for one set of policies (`acl.resolve`), so it stands for what they say."""

    path: str  # of the route
    name: str
    query: tuple[tuple[str, str], ...]
    may: Authorizer


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer with its body encoded, and whether the caller was shown less than there is."""

    answer: Answer
    left_out: bool


def key_of(path: str, name: str, query: Query, may: Authorizer) -> Key:
    return Key(path, name, tuple(pair for pair in query.pairs() if pair[0] not in _NOT_THE_ANSWERS), may)


class Memo:
    """Of one server."""

    def __init__(self) -> None:
        self._kept: dict[Key, Kept] = {}  # the one asked for last at the end
        self._bytes = 0

    def find(self, key: Key, state: State) -> Kept | None:
        """What is kept and still so."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        if max(map(state.index_of, kept.answer.keys)) != kept.answer.index:
            self._bytes -= _size(kept)
            return None
        self._kept[key] = kept
        return kept

    def keep(self, key: Key, found: Answer, *, left_out: bool, pretty: bool) -> Answer:
        """The answer with its body as bytes, kept for the next who asks."""
        encoded = replace(found, body=Encoded(json_bytes(found.body, pretty=pretty)))
        kept = Kept(encoded, left_out)
        if _size(kept) > ENTRY_BYTES_MAX:
            return encoded
        if (old := self._kept.pop(key, None)) is not None:
            self._bytes -= _size(old)
        self._kept[key] = kept
        self._bytes += _size(kept)
        while self._bytes > BYTES_MAX or len(self._kept) > ENTRIES_MAX:
            self._bytes -= _size(self._kept.pop(next(iter(self._kept))))
        return encoded

    def __len__(self) -> int:
        return len(self._kept)


def _size(kept: Kept) -> int:
    body: Encoded = kept.answer.body
    return len(body.plain)
