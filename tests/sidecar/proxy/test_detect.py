"""Told by the first bytes, however few come at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.h2.frames import PREFACE
from sidecar.proxy.detect import Spoken, guess, spoken

FIRST_BYTES = [
    (PREFACE, Spoken.HTTP2),
    (b"GET / HTTP/1.1\r\n", Spoken.HTTP1),
    (b"\r\nPOST /a?b=c HTTP/1.0\r\n", Spoken.HTTP1),
    (b"OPTIONS * HTTP/1.1\r\n", Spoken.HTTP1),
    (b"CONNECT a:443 HTTP/1.1\r\n", Spoken.HTTP1),
    (b"GET http://a/b HTTP/1.1\r\n", Spoken.HTTP1),
    (b"GET / HTTP/1.1\n", Spoken.HTTP1),  # malformed, and for the parser to say so
    (b"\x16\x03\x01\x02\x00\x01", Spoken.OTHER),  # TLS
    (b"*1\r\n$4\r\nPING\r\n", Spoken.OTHER),  # Redis
    (b"PING\r\n", Spoken.OTHER),
    (b"GET key\r\n", Spoken.OTHER),  # Redis, inline
    (b"get key\r\n", Spoken.OTHER),  # memcached
    (b"\0\0\0\x08\x04\xd2\x16\x2f", Spoken.OTHER),  # PostgreSQL
    (b"EHLO example.com\r\n", Spoken.OTHER),
    (b"PRI * HTTP/2.0\r\n\r\nXX", Spoken.OTHER),
]


@pytest.mark.parametrize(("data", "found"), FIRST_BYTES)
def test_first_bytes(data: bytes, found: Spoken) -> None:
    assert spoken(data) is found
    for end in range(len(data)):
        assert spoken(data[:end]) in (None, found)


def test_half_a_line_is_guessed() -> None:
    assert guess(b"GET /a/long/pa") is Spoken.HTTP1
    assert guess(PREFACE[:10]) is Spoken.HTTP2
    assert guess(b"") is guess(b"HEL") is Spoken.OTHER


@given(st.binary(max_size=40))
def test_it_never_changes_its_mind(data: bytes) -> None:
    told = [found for end in range(len(data) + 1) if (found := spoken(data[:end])) is not None]
    assert len(set(told)) <= 1


def test_a_line_without_end_is_decided() -> None:
    assert spoken(b"GET /" + b"a" * 20_000) is Spoken.HTTP1
    assert spoken(b"GET " + b"a" * 20_000) is Spoken.OTHER
