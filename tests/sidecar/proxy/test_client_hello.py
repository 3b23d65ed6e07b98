"""The name in a TLS client's first bytes, as OpenSSL writes them."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.proxy.client_hello import Hello, server_name


def hello(name: str | None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_name_however_it_comes() -> None:
    data = hello("API.pay.example")
    assert server_name(data) == "api.pay.example"
    assert all(server_name(data[:end]) is Hello.PENDING for end in range(1, len(data)))


def test_none() -> None:
    assert server_name(hello(None)) is Hello.NAMELESS
    assert server_name(b"GET / HTTP/1.1") is Hello.NO_TLS
    assert server_name(b"\x16\x03\x01\xff\xff") is Hello.NAMELESS


@given(st.integers(5, 200), st.binary(min_size=1, max_size=20))
def test_damage_is_never_an_error(at: int, put: bytes) -> None:
    data = hello("a.example")
    server_name(data[:at] + put + data[at + len(put) :])
