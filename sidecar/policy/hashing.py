"""Sans-IO. What of a request decides where it goes: a hash that is the same on every sidecar and restart.

BLAKE2b of the input's octets, 64 bits: Python's own hash differs from process to process.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qsl

from ..h2.block import Block
from ..traffic import HashInput, HashKind, HashPolicy

HASH_BITS = 64
_SPACE = 1 << HASH_BITS


class Hashed(NamedTuple):
    """`key` is None where the request has none of the inputs. `cookie` is the input for which the caller
    has no cookie yet and wants one: whoever answers sets it to what `key` was made of."""

    key: int | None
    cookie: HashInput | None = None


NOT_HASHED = Hashed(None)


def hash64(octets: bytes, salt: bytes = b"") -> int:
    """`salt` (up to 16 octets) keeps uses apart: a split must not correlate with the choice behind it."""
    return int.from_bytes(blake2b(octets, digest_size=8, salt=salt).digest(), "big")


def share_of(key: int) -> float:
    """The hash as a fraction in [0, 1)."""
    return key / _SPACE


def hash_of(policy: HashPolicy, block: Block, source: str, salt: bytes = b"") -> Hashed:
    """The hash of all inputs that the request has, up to the first terminal one (as Envoy does).

    `source` is the caller's address. A cookie that has to be made hashes as absent: the caller of this
    makes it, and hashes what it made with `hash64`.
    """
    octets = []
    wanted = None
    for asked in policy:
        value = _value(asked, block, source)
        if value is None:
            if asked.cookie_generate and wanted is None:
                wanted = asked
                if asked.terminal:
                    break
            continue
        octets.append(value)
        if asked.terminal:
            break
    if not octets:
        return Hashed(None, wanted) if wanted else NOT_HASHED
    return Hashed(hash64(b"\0".join(octets), salt))


def header_names(policies: Sequence[HashPolicy]) -> frozenset[bytes]:
    """The header names that any of them reads."""
    return frozenset(
        b"cookie" if asked.kind is HashKind.COOKIE else asked.name.encode()
        for policy in policies
        for asked in policy
        if asked.kind in (HashKind.HEADER, HashKind.COOKIE)
    )


def _value(asked: HashInput, block: Block, source: str) -> bytes | None:
    if asked.kind is HashKind.SOURCE:
        return source.encode()
    if asked.kind is HashKind.QUERY:
        query = block.head.path.partition(b"?")[2].decode("latin-1")
        pairs = parse_qsl(query, keep_blank_values=True)
        return next((value.encode() for name, value in pairs if name == asked.name), None)
    if asked.kind is HashKind.COOKIE:
        return _cookie(field(block, b"cookie", b"; "), asked.name.encode())
    return field(block, asked.name.encode(), b", ")


def field(block: Block, name: bytes, between: bytes) -> bytes | None:
    """A field's value, wherever in the block it stands."""
    found = block.head.value(name)
    beside = [literal.value() for literal in block.extra if literal.name == name]
    values = ([] if found is None else [found]) + beside
    return between.join(values) if values else None


def _cookie(header: bytes | None, name: bytes) -> bytes | None:
    for crumb in (header or b"").split(b";"):
        key, equals, value = crumb.strip().partition(b"=")
        if equals and key == name:
            return value.strip(b'"')
    return None
