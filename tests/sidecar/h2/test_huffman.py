"""RFC 7541 section 5.2 and appendix B, with the `hpack` library as oracle."""

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from sidecar.h2 import huffman
from sidecar.h2.errors import ConnectionFault, ErrorCode

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


def test_code_lengths_are_those_of_appendix_b() -> None:
    assert list(huffman.CODE_LENGTHS) == REQUEST_CODES_LENGTH


def test_each_octet_decodes_alone_and_in_company() -> None:
    every = bytes(range(256))
    assert huffman.decode(encode(every)) == every
    assert [huffman.decode(encode(bytes([octet]))) for octet in every] == [bytes([octet]) for octet in every]


@given(st.binary(max_size=80))
def test_what_hpack_encodes_decodes(text: bytes) -> None:
    assert huffman.decode(encode(text)) == text


@pytest.mark.parametrize(
    ("coded", "why"),
    [
        (b"\xff\xff\xff\xff", "EOS"),  # 30 ones
        (encode(b"a") + b"\xff", "padding"),  # 11 bits of it
        (b"\xff", "padding"),  # 8 bits and no text
        (b"\x18", "padding"),  # "a" (00011) padded with zeros
        (b"\x07\x00", "padding"),  # cut in the middle of a code
    ],
)
def test_broken_codes_are_compression_errors(coded: bytes, why: str) -> None:
    with pytest.raises(ConnectionFault, match=why) as fault:
        huffman.decode(coded)
    assert fault.value.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize("length", range(1, 9))
def test_padding_of_less_than_an_octet_is_right(length: int) -> None:
    """The code of "a" has 5 bits, so these are paddings of 0 to 7 bits."""
    assert huffman.decode(encode(b"a" * length)) == b"a" * length
