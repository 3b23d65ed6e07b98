"""The generator's bytes are what RFC 9113, RFC 7541 and gRPC say: the `hpack` library reads them."""

from typing import Any

import hpack
import pytest

from bench import frames
from bench.generator import request_fields, varying_literals


@pytest.mark.parametrize(
    ("value", "prefix_bits", "octets"),
    [(10, 5, b"\x0a"), (1337, 5, b"\x1f\x9a\x0a"), (42, 8, b"\x2a"), (31, 5, b"\x1f\x00")],
)
def test_rfc7541_c1_integers(value: int, prefix_bits: int, octets: bytes) -> None:
    assert frames.integer(value, prefix_bits, 0) == octets


def test_frame_head_round_trip() -> None:
    payload = b"x" * 70_000
    assert frames.head_at(frames.frame(frames.DATA, frames.END_STREAM, 7, payload), 0) == (70_000, 0, 1, 7)


def test_settings_round_trip() -> None:
    values = {frames.SETTINGS_INITIAL_WINDOW_SIZE: 1 << 20, frames.SETTINGS_MAX_CONCURRENT_STREAMS: 5}
    encoded = frames.settings(values)
    assert frames.parse_settings(encoded[frames.HEAD_BYTES :]) == values


def test_grpc_message_has_flag_and_length() -> None:
    assert frames.grpc_message(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_blocks_decode_to_their_fields_in_both_forms() -> None:
    response = [(":status", "200"), ("content-type", "application/grpc"), ("x-long", "v" * 200)]
    trailers = [("grpc-status", "0")]
    blocks, decoder = frames.Blocks(response, trailers), hpack.Decoder()
    for form in (blocks.first, blocks.again, blocks.again):
        assert [decoder.decode(block) for block in form] == [response, trailers]


def test_repeated_blocks_leave_the_table_alone() -> None:
    blocks, decoder = frames.Blocks(request_fields("127.0.0.1:80")), hpack.Decoder()
    decoder.decode(blocks.first[0])
    before = list(decoder.header_table.dynamic_entries)
    decoder.decode(blocks.again[0] + varying_literals(1))
    assert list(decoder.header_table.dynamic_entries) == before
    assert len(blocks.again[0]) == len(request_fields(""))  # one octet per field


def test_varying_literals_differ_for_every_request() -> None:
    blocks = [varying_literals(number) for number in range(2000)]
    fields: list[Any] = [dict(hpack.Decoder().decode(block)) for block in blocks]
    assert len({field["traceparent"] for field in fields}) == len(blocks)
    assert len({field["grpc-timeout"] for field in fields}) == len(blocks)
    assert all(set(field) == {"traceparent", "grpc-timeout"} for field in fields)
    version, trace_id, span_id, flags = fields[0]["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id), flags) == ("00", 32, 16, "00")
    assert fields[0]["grpc-timeout"][:-1].isdigit()
    assert fields[0]["grpc-timeout"][-1] == "u"
