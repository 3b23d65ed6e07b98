# Hot path: bench/telemetry.py
"""Joins each request to its trace, or begins one.

An unsampled request that has a context passes with it; one that has none gets one, from a stock of
literals that are ready to be appended. Only sampled requests are looked at further: their context is written
anew with a span of ours as the next hop's parent.
"""

import random
import struct
from typing import TYPE_CHECKING, NamedTuple

from ..h2.block import NO_TRACE, Block, Extra, Literal
from ..policy import trace_context
from ..policy.trace_context import LENGTH_ON_WIRE, NAME_ON_WIRE, Context, may_hold_another
from .exchange import Exchange

if TYPE_CHECKING:
    from .observe import Observer

STOCK = 256  # contexts made at once: 30 kB
SAMPLED_DIGIT = 0x31
_UNSAMPLED_DIGITS = b"02468ace"  # the last digit of the flags; bit 0 says sampled
_LENGTH_AT = len(NAME_ON_WIRE)
_FLAGS_AT = _LENGTH_AT + LENGTH_ON_WIRE[0]
PPM = 1_000_000

_BEFORE_IDS = b"\0" + NAME_ON_WIRE + LENGTH_ON_WIRE + b"00-"
_BLANK = b"%b%032d-%016d-00" % (_BEFORE_IDS, 0, 0)
# The stock is filled by words of 8 octets, so a literal takes whole ones in it and is cut out again.
_WORDS = -(-len(_BLANK) // 8)
_SHELF = _BLANK.ljust(8 * _WORDS, b"\0") * STOCK + bytes(8 * _WORDS)
_TRACE_ID_AT = len(_BEFORE_IDS)
_SPAN_ID_AT = _TRACE_ID_AT + 33
_cut = struct.Struct(f"{len(_BLANK)}s{8 * _WORDS - len(_BLANK)}x" * STOCK).unpack_from

_new = object.__new__


class SpanIds(NamedTuple):
    """Of the span of one sampled request on this hop; lower-case hex. `parent` is "" where there is none."""

    trace_id: str
    span_id: str
    parent: str


class Tracer:
    """`ppm` is the share of requests without a context that begin a sampled trace, of 1,000,000."""

    __slots__ = ("_fresh", "_observer", "_ppm", "_rng")

    def __init__(self, ppm: int, rng: random.Random, observer: "Observer | None" = None) -> None:
        self._ppm = ppm
        self._rng = rng
        self._observer = observer  # who wants to know when a sampled request is over
        self._fresh: list[bytes] = []

    def join(self, exchange: Exchange) -> None:
        """Gives the request its context for the next hop; a sampled one also gets its `span`."""
        block = exchange.block
        came = block.extra
        wire = came.wire
        trace_at = came.trace_at
        if trace_at > 0 and wire[trace_at] in _UNSAMPLED_DIGITS:
            return
        if wire and trace_at != NO_TRACE:
            at = wire.find(NAME_ON_WIRE)
            if at >= 0:
                # Slices, as the name may be there by chance, at the end of a Huffman coded value.
                length_at, flags_at = at + _LENGTH_AT, at + _FLAGS_AT
                if (
                    wire[length_at : length_at + 1] != LENGTH_ON_WIRE
                    or wire[flags_at : flags_at + 1] not in _UNSAMPLED_DIGITS
                ):
                    self._read(exchange)
                return
            # `may_hold_another`, but for its call in the usual case.
            if (b"b3" in wire or not wire.isascii()) and may_hold_another(wire):
                self._read(exchange)
                return
        if not self._fresh:
            self._restock()
        literal = self._fresh.pop()
        # As in Decoder.decode: without their __init__ the two objects cost half.
        extra = _new(Extra)
        extra.wire = wire + literal
        extra.timeout = came.timeout
        extra.trace_at = 0
        made = _new(Block)
        made.head = block.head
        made.extra = extra
        exchange.block = made
        if literal[-1] == SAMPLED_DIGIT:
            self._sample(exchange, _span_of(literal))

    def _restock(self) -> None:
        """Writes all ids in six strides of words: 0.15 µs a literal, where formatting each took 0.32."""
        shelf = bytearray(_SHELF)
        ids = memoryview(self._rng.randbytes(24 * STOCK).hex().encode()).cast("Q")
        trace_ids, span_ids = _words(shelf, _TRACE_ID_AT), _words(shelf, _SPAN_ID_AT)
        for word in range(4):
            trace_ids[word::_WORDS] = ids[word::6]
        for word in range(2):
            span_ids[word::_WORDS] = ids[4 + word :: 6]
        fresh: list[bytes] = list(_cut(shelf))
        if self._ppm:
            draw, ppm = self._rng.random, self._ppm
            fresh = [it[:-1] + b"1" if draw() * PPM < ppm else it for it in fresh]
        self._fresh = fresh

    # --- what is sampled, or not as usual ------------------------------------------------------------

    def _read(self, exchange: Exchange) -> None:
        """Something that looks like a context: reads it, and obeys its decision."""
        literals = list(exchange.block.extra)
        came = trace_context.read(literals)
        if came is None:
            # Also a value that looked like a context by chance. What cannot be read is begun anew.
            self._rewrite(exchange, self._begun(exchange, trace_context.without(literals)))
        elif self._samples(came):
            span = self._span(came)
            self._sample(exchange, span)
            self._rewrite(exchange, trace_context.rewritten(literals, came, span.trace_id, span.span_id))

    def _sample(self, exchange: Exchange, span: SpanIds) -> None:
        exchange.span = span
        exchange.observer = self._observer

    def _begun(self, exchange: Exchange, literals: list[Literal]) -> list[Literal]:
        """A request without a context gets one."""
        if not self._fresh:
            self._restock()
        fresh = self._fresh.pop()
        if fresh[-1] == SAMPLED_DIGIT:
            self._sample(exchange, _span_of(fresh))
        return [*literals, *Extra(fresh)]

    def _rewrite(self, exchange: Exchange, literals: list[Literal]) -> None:
        block = exchange.block
        wire = b"".join([literal.wire() for literal in literals])
        exchange.block = Block(block.head, Extra(wire, block.extra.timeout))

    def _samples(self, came: Context) -> bool:
        """The caller's decision; where it left it to us, ours."""
        return self._rng.random() * PPM < self._ppm if came.sampled is None else came.sampled

    def _span(self, came: Context) -> SpanIds:
        span_id = self._rng.randbytes(8).hex()
        return SpanIds(came.trace_id or self._rng.randbytes(16).hex(), span_id, came.span_id)


def _words(shelf: bytearray, at: int) -> memoryview:
    return memoryview(shelf)[at : at + 8 * _WORDS * STOCK].cast("Q")


def _span_of(literal: bytes) -> SpanIds:
    """Of one of our own literals."""
    return SpanIds(literal[-52:-20].decode(), literal[-19:-3].decode(), "")
