"""What header blocks cost: `python -m bench.hpack`.

CPU time per block, best of several rounds, with the `hpack` library on the same work for comparison.
Requests are shaped like those of gRPC's C core: nine indexed fields, then two literals that vary.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from sidecar.h2.block import Extra, Field
from sidecar.h2.decoder import Decoder
from sidecar.h2.encoder import Encoder

ROUNDS = 9
BLOCKS = 2000  # per round
REFERENCE_BLOCKS = 200  # the library is ten times slower

REQUEST = (
    (b":path", b"/orders.Orders/Get"),
    (b":authority", b"orders:50051"),
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    (b"grpc-timeout", b"5S"),
    (b"user-agent", b"grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2)"),
)
TRACE_ID = b"00-%032x-%016x-01"

_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


@dataclass(frozen=True)
class Case:
    """One kind of block: how we handle it, how the library does, and the work for each."""

    name: str
    ours: Callable[[], Callable[[bytes], object]]
    library: Callable[[], Callable[[bytes], object]]
    blocks: Callable[[int], Sequence[bytes]]


def plain(text: bytes) -> bytes:
    """A short string as on the wire."""
    return bytes([len(text)]) + text


def coded(text: bytes) -> bytes:
    """The same, Huffman coded."""
    octets = _huffman(text)
    return bytes([0x80 | len(octets)]) + octets


OPENING = b"".join(b"\x40" + plain(name) + plain(value) for name, value in REQUEST)
INDEXED = bytes(0x80 | 62 + len(REQUEST) - 1 - position for position in range(len(REQUEST)))


def literals(number: int, string: Callable[[bytes], bytes]) -> bytes:
    """A trace id and a request id, no two the same."""
    trace, request = TRACE_ID % (number * 0x9E3779B97F4A7C15, number), b"%016x" % number
    return b"\0" + string(b"traceparent") + string(trace) + b"\0" + string(b"x-request-id") + string(request)


def repeated(count: int) -> list[bytes]:
    return [INDEXED] * count


def novel(count: int) -> list[bytes]:
    return [INDEXED + literals(number, plain) for number in range(count)]


def novel_coded(count: int) -> list[bytes]:
    return [INDEXED + literals(number, coded) for number in range(count)]


def inserting(count: int) -> list[bytes]:
    """As gRPC's Go implementation does: each new trace id goes into the table and moves all indices."""
    return [
        b"\x83\x86\x04" + plain(b"/a") + b"\x0f\x2b" + plain(b"x") + b"\x40" + literals(number, plain)[1:]
        for number in range(count)
    ]


def novel_paths(count: int) -> list[bytes]:
    return [b"\x83\x86\x04" + plain(b"/orders/%d" % number) + b"\xbe" for number in range(count)]


def our_decoder() -> Callable[[bytes], object]:
    decoder = Decoder(requests=True)
    decoder.decode(OPENING)
    lookup, decode = decoder.memo.get, decoder.decode
    return lambda octets: lookup(octets) or decode(octets)


def library_decoder() -> Callable[[bytes], object]:
    decoder = hpack.Decoder()
    decoder.decode(OPENING, raw=True)
    return lambda octets: decoder.decode(octets, raw=True)


def our_encoder() -> Callable[[bytes], object]:
    encoder = Encoder()
    for _ in range(3):
        encoder.encode(REQUEST)
    return lambda wire: encoder.encode(REQUEST, Extra(wire))


def our_encoder_of_new_lists() -> Callable[[bytes], object]:
    encoder = Encoder()
    for _ in range(3):
        encoder.encode(REQUEST)
    return lambda wire: encoder.encode((*REQUEST, (b"grpc-timeout", wire)))


def library_encoder() -> Callable[[bytes], object]:
    encoder = hpack.Encoder()
    first, second = (b"traceparent", b"1", True), (b"x-request-id", b"1", True)  # True: never indexed
    fields: list[Field | tuple[bytes, bytes, bool]] = [*REQUEST]
    return lambda wire: encoder.encode([*fields, first, second] if wire else fields, huffman=False)


CASES = (
    Case("decode, exact repeat", our_decoder, library_decoder, repeated),
    Case("decode, 2 new literals", our_decoder, library_decoder, novel),
    Case("decode, 2 new Huffman literals", our_decoder, library_decoder, novel_coded),
    Case("decode, new path", our_decoder, library_decoder, novel_paths),
    Case("decode, new literal inserted", our_decoder, library_decoder, inserting),
    Case("encode, same list", our_encoder, library_encoder, lambda count: [b""] * count),
    Case(
        "encode, same list + 2 literals",
        our_encoder,
        library_encoder,
        lambda count: [literals(number, plain) for number in range(count)],
    ),
    Case(
        "encode, new list",
        our_encoder_of_new_lists,
        library_encoder,
        lambda count: [b"%dm" % number for number in range(count)],
    ),
)


def cost_us(handler: Callable[[bytes], object], blocks: Sequence[bytes]) -> float:
    """CPU microseconds per block of one pass."""
    started = time.process_time_ns()
    for octets in blocks:
        handler(octets)
    return (time.process_time_ns() - started) / len(blocks) / 1000


def best_us(make: Callable[[], Callable[[bytes], object]], blocks: Sequence[bytes]) -> float:
    return min(cost_us(make(), blocks) for _ in range(ROUNDS))


def main() -> None:
    print(f"{'CPU time per block':34} {'weft':>9} {'hpack':>9}")
    for case in CASES:
        ours = best_us(case.ours, case.blocks(BLOCKS))
        library = best_us(case.library, case.blocks(REFERENCE_BLOCKS))
        print(f"{case.name:34} {ours:6.2f} µs {library:6.2f} µs")


if __name__ == "__main__":
    main()
