"""Forms on which two readers of HTTP/1.1 have disagreed: each is refused (traps 13 and 14)."""

import pytest

from sidecar.http1.decoder import Decoder
from sidecar.http1.errors import BadMessage
from sidecar.http1.reader import Reader

POST = b"POST /a HTTP/1.1\r\nHost: orders\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def _read(data: bytes, requests: bool = True) -> bytes:
    """Reads one message to its end; answers the body."""
    reader = Reader(Decoder(requests=requests))
    reader.feed(data)
    message = reader.head()
    assert message is not None, "the head is not whole"
    more = reader.frame_request(message) if requests else reader.frame_response(message, False)
    body = b""
    while more:
        piece, ended = reader.body(1 << 20)
        body += piece
        if ended or not piece:
            break
    return body


REFUSED = {
    "content_length_beside_chunked": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked_beside_content_length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two_equal_content_lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "two_unequal_content_lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a_list_of_content_lengths": POST + b"Content-Length: 1, 1\r\n\r\na",
    "a_signed_content_length": POST + b"Content-Length: +1\r\n\r\na",
    "a_negative_content_length": POST + b"Content-Length: -1\r\n\r\na",
    "a_hexadecimal_content_length": POST + b"Content-Length: 0x1\r\n\r\na",
    "an_empty_content_length": POST + b"Content-Length: \r\n\r\n",
    "a_content_length_beyond_all_bounds": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "chunked_that_is_not_last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked_twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked_in_two_fields": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a_coding_that_only_looks_chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked_in_quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "another_coding_first": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked_behind_a_vertical_tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked_in_http_1_0": b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a_folded_field": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a_folded_first_field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a_field_folded_by_tab": POST + b"A: b\r\n\tc\r\n\r\n",
    "a_bare_lf_in_the_head": b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n",
    "a_bare_lf_at_the_end": b"GET / HTTP/1.1\nHost: a\n\n",
    "a_bare_cr_in_a_value": POST + b"A: b\rc\r\n\r\n",
    "a_bare_cr_in_the_request_line": b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
    "a_space_before_the_colon": POST + b"Content-Length : 1\r\n\r\na",
    "a_tab_before_the_colon": POST + b"Content-Length\t: 1\r\n\r\na",
    "a_field_without_a_colon": POST + b"Content-Length\r\n\r\n",
    "a_field_without_a_name": POST + b": 1\r\n\r\n",
    "nul_in_a_value": POST + b"A: b\0c\r\n\r\n",
    "nul_in_the_target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a_control_in_a_value": POST + b"A: b\x01c\r\n\r\n",
    "no_host": b"GET / HTTP/1.1\r\n\r\n",
    "two_hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two_hosts_in_one": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a_host_unlike_the_absolute_form": b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "a_host_unlike_connect": b"CONNECT a:1 HTTP/1.1\r\nHost: b:1\r\n\r\n",
    "a_host_with_user_information": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "an_absolute_form_of_another_scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an_asterisk_that_is_not_options": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a_target_with_a_fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "two_spaces_in_the_request_line": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a_tab_in_the_request_line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a_space_in_the_target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "http_0_9": b"GET /\r\n\r\n",
    "http_2_on_an_http_1_line": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "http_1_2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "a_lower_case_version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "a_method_that_is_none": b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a_method_nobody_knows": b"SMUGGLE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "connection_that_names_host": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n",
    "connection_that_names_content_length": POST
    + b"Connection: content-length\r\nContent-Length: 1\r\n\r\na",
    "connection_that_names_a_credential": POST + b"Connection: authorization\r\nAuthorization: x\r\n\r\n",
    "connection_that_names_the_caller": POST + b"Connection: x-forwarded-client-cert\r\n\r\n",
    "an_expectation_nobody_knows": POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\na",
    "a_chunk_size_with_a_sign": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "a_chunk_size_with_0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a_negative_chunk_size": CHUNKED + b"-1\r\n",
    "an_empty_chunk_size": CHUNKED + b"\r\nabc\r\n",
    "a_chunk_size_with_spaces": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "a_chunk_size_behind_a_space": CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n",
    "a_chunk_size_of_17_digits": CHUNKED + b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    "a_chunk_size_that_ends_in_lf": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "a_chunk_that_ends_in_lf": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "a_chunk_longer_than_its_size": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "a_chunk_extension_with_lf": CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a_chunk_extension_with_nul": CHUNKED + b"3;a\0\r\nabc\r\n0\r\n\r\n",
    "a_chunk_extension_without_end": CHUNKED + b"3;" + b"a" * 300,
    "a_bare_cr_behind_a_chunk_size": CHUNKED + b"3\r\r\nabc",
}


@pytest.mark.parametrize("name", REFUSED)
def test_trap_13_refused(name: str) -> None:
    with pytest.raises(BadMessage) as refused:
        _read(REFUSED[name])
    assert 400 <= refused.value.status < 600 and len(str(refused.value)) < 120


TRAILERS_REFUSED = {
    "content_length": b"0\r\nContent-Length: 5\r\n\r\n",
    "transfer_encoding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "host": b"0\r\nHost: a\r\n\r\n",
    "authorization": b"0\r\nAuthorization: Basic x\r\n\r\n",
    "the_caller": b"0\r\nX-Forwarded-Client-Cert: URI=spiffe://x\r\n\r\n",
    "folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "a_space_before_the_colon": b"0\r\nA : b\r\n\r\n",
    "a_bare_lf": b"0\r\nA: b\nC: d\r\n\r\n",
}


@pytest.mark.parametrize("name", TRAILERS_REFUSED)
def test_trailers_that_cannot_be(name: str) -> None:
    decoder = Decoder(requests=True)
    reader = Reader(decoder)
    reader.feed(CHUNKED + TRAILERS_REFUSED[name])
    message = reader.head()
    assert message is not None and reader.frame_request(message)
    with pytest.raises(BadMessage):
        reader.body(100)
        decoder.decode(reader.trailers, trailers=True)


RESPONSES_REFUSED = {
    "content_length_beside_chunked": OK + LENGTH + TE + b"\r\n",
    "two_content_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a_folded_field": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "a_bare_lf": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    "no_version": b"HTTP 200 OK\r\n\r\n",
    "no_status": b"HTTP/1.1 OK\r\n\r\n",
    "a_status_below_100": b"HTTP/1.1 099 OK\r\n\r\n",
    "101_without_upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "chunked_in_http_1_0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", RESPONSES_REFUSED)
def test_responses_refused(name: str) -> None:
    with pytest.raises(BadMessage):
        _read(RESPONSES_REFUSED[name], requests=False)


def test_chunks_that_carry_next_to_nothing() -> None:
    """CVE-2023-39326: 200 octets of extension for each octet of body."""
    with pytest.raises(BadMessage, match="next to nothing"):
        _read(CHUNKED + (b"1;" + b"x" * 200 + b"\r\na\r\n") * 200)
    assert _read(CHUNKED + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n") == b"a" * 5000


def test_limits() -> None:
    for data, status in (
        (b"GET /" + b"a" * 17_000, 414),
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 66_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    ):
        with pytest.raises(BadMessage) as refused:
            _read(data)
        assert refused.value.status == status
    with pytest.raises(BadMessage):
        _read(CHUNKED + b"0\r\nA: " + b"a" * 20_000)
