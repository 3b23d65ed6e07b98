"""RFC 9113 section 8: which messages are malformed. The table is the specification in short."""

import pytest

from sidecar.h2.block import Head, Kind, NeverIndexed
from sidecar.h2.errors import ErrorCode, StreamFault
from sidecar.h2.fields import is_name, is_value, request_head, response_head, size_of, trailers_head

POST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/orders.Orders/Get"),
    (b":authority", b"orders:50051"),
)


def test_a_request_head_tells_its_control_data() -> None:
    head = request_head((*POST, (b"te", b"trailers"), (b"content-length", b"17")))
    assert (head.kind, head.method, head.scheme) == (Kind.REQUEST, b"POST", b"http")
    assert (head.path, head.authority, head.content_length) == (b"/orders.Orders/Get", b"orders:50051", 17)
    assert (head.status, head.grpc_status, head.plan, head.plan_for) == (0, -1, None, None)


def test_size_counts_32_octets_per_field() -> None:
    """RFC 9113 section 6.5.2."""
    assert size_of(((b"a", b"bc"), (b"", b""))) == 67
    assert request_head(POST).size == size_of(POST)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (POST[1:], ":method"),
        ((POST[0], *POST[2:]), ":scheme"),
        ((*POST[:2], POST[3]), ":path"),
        ((*POST[:2], (b":path", b""), POST[3]), ":path"),
        ((*POST[:2], (b":path", b"orders"), POST[3]), ":path"),
        ((*POST[:2], (b":path", b"*"), POST[3]), ":path"),
        ((*POST[:2], (b":path", b"/a b"), POST[3]), ":path"),
        ((*POST[:2], (b":path", b"/a#b"), POST[3]), ":path"),
        ((*POST[:2], (b":path", b"/a\r\nx: y"), POST[3]), ":path"),
        (((b":method", b"PO ST"), *POST[1:]), ":method"),
        ((POST[0], (b":scheme", b"ht tp"), *POST[2:]), ":scheme"),
        ((*POST[:3], (b":authority", b"user@orders")), ":authority"),
        ((*POST[:3], (b":authority", b"orders/x")), ":authority"),
        ((*POST, POST[2]), "twice"),
        ((*POST, (b":status", b"200")), "not known"),
        ((*POST, (b":protocol", b"websocket")), "no CONNECT"),
        ((*POST[:3], (b"x", b"y"), POST[3]), "not at this place"),
        (((b":method", b"CONNECT"), *POST[1:]), "CONNECT"),
        (((b":method", b"CONNECT"),), "authority"),
        (((b":method", b"CONNECT"), (b":protocol", b"websocket"), POST[3]), "extended"),
        (((b":method", b"CONNECT"), (b":protocol", b"web socket"), *POST[1:]), ":protocol"),
        ((*POST, (b"connection", b"close")), "connection"),
        ((*POST, (b"transfer-encoding", b"chunked")), "transfer-encoding"),
        ((*POST, (b"upgrade", b"h2c")), "upgrade"),
        ((*POST, (b"keep-alive", b"1")), "keep-alive"),
        ((*POST, (b"proxy-connection", b"close")), "proxy-connection"),
        ((*POST, (b"te", b"gzip")), "te"),
        ((*POST, (b"host", b"payments")), "host"),
        ((*POST, (b"host", b"orders:50051"), (b"host", b"orders:50051")), "host"),
        ((*POST, (b"content-length", b"1"), (b"content-length", b"1")), "content-length"),
        ((*POST, (b"content-length", b"1, 1")), "content-length"),
        ((*POST, (b"content-length", b"-1")), "content-length"),
        ((*POST, (b"content-length", b"+1")), "content-length"),
        ((*POST, (b"content-length", b"1" * 19)), "content-length"),
        ((*POST, (b"Accept", b"x")), "Accept"),
        ((*POST, (b"", b"x")), "name"),
        ((*POST, (b"a b", b"x")), "name"),
        ((*POST, (b"a\0", b"x")), "name"),
        ((*POST, (b"x", b"a\r\nb")), "value"),
        ((*POST, (b"x", b"a\0")), "value"),
        ((*POST, (b"x", b" a")), "value"),
        ((*POST, (b"x", b"a\t")), "value"),
    ],
)
def test_malformed_requests(fields: tuple[tuple[bytes, bytes], ...], why: str) -> None:
    with pytest.raises(StreamFault, match=why) as fault:
        request_head(fields)
    assert fault.value.code is ErrorCode.PROTOCOL_ERROR


def test_a_fault_names_the_field_but_not_its_value() -> None:
    with pytest.raises(StreamFault) as fault:
        request_head((*POST, (b"authorization", b"hunter2\r\n")))
    assert "authorization" in fault.value.reason
    assert "hunter2" not in fault.value.reason


def test_host_may_repeat_the_authority_or_stand_for_it() -> None:
    assert request_head((*POST, (b"host", b"ORDERS:50051"))).authority == b"orders:50051"
    assert request_head((*POST[:3], (b"host", b"orders"))).authority == b"orders"
    assert request_head(POST[:3]).authority == b""


def test_options_may_ask_for_the_whole_server() -> None:
    assert request_head(((b":method", b"OPTIONS"), POST[1], (b":path", b"*"))).path == b"*"


@pytest.mark.parametrize("status", [b"", b"99", b"099", b"2000", b"2x0", b"101"])
def test_malformed_status(status: bytes) -> None:
    with pytest.raises(StreamFault, match=":status"):
        response_head(((b":status", status),))


def test_a_response_needs_exactly_one_status() -> None:
    with pytest.raises(StreamFault, match=":status"):
        response_head(((b"x", b"y"),))
    with pytest.raises(StreamFault, match="twice"):
        response_head(((b":status", b"200"), (b":status", b"200")))
    with pytest.raises(StreamFault, match="not known"):
        response_head(((b":status", b"200"), (b":path", b"/")))


def test_responses_below_200_are_informational() -> None:
    assert response_head(((b":status", b"100"),)).kind is Kind.INFORMATIONAL
    head = response_head(((b":status", b"503"), (b"content-length", b"0")))
    assert (head.kind, head.status, head.content_length) == (Kind.RESPONSE, 503, 0)


def test_trailers_have_no_pseudo_header_fields() -> None:
    with pytest.raises(StreamFault, match="not known"):
        trailers_head(((b":status", b"200"),))
    assert trailers_head(()).kind is Kind.TRAILERS


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"0", 0), (b"14", 14), (b"16", 16), (b"17", 2), (b"007", 2), (b"x", 2), (b"", 2), (b"\xb2", 2)],
)
def test_grpc_status_is_a_known_code_or_unknown(value: bytes, status: int) -> None:
    assert trailers_head(((b"grpc-status", value),)).grpc_status == status
    assert response_head(((b":status", b"200"), (b"grpc-status", value))).grpc_status == status


def test_two_grpc_statuses_are_unknown() -> None:
    assert trailers_head(((b"grpc-status", b"0"), (b"grpc-status", b"7"))).grpc_status == 2


@pytest.mark.parametrize("octet", range(256))
def test_each_octet_in_names_and_values(octet: int) -> None:
    char = bytes([octet])
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
    assert is_name(b"a" + char) == (char in token)
    control = (octet < 0x20 and octet != 0x09) or octet == 0x7F
    assert is_value(b"a" + char + b"b") == (not control)
    assert is_value(char) == (not control and char not in b" \t")


def test_values_of_one_name_are_joined() -> None:
    head = Head(Kind.TRAILERS, ((b"a", b"1"), (b"cookie", b"x=1"), (b"a", b"2"), (b"cookie", b"y=2")))
    assert head.value(b"a") == b"1, 2"
    assert head.value(b"cookie") == b"x=1; y=2"
    assert head.value(b"b") is None


def test_a_never_indexed_field_is_another_field() -> None:
    plain, never = (b"a", b"b"), NeverIndexed((b"a", b"b"))
    assert plain != never
    assert never != plain
    assert never == NeverIndexed((b"a", b"b"))
    assert len({plain, never, NeverIndexed((b"a", b"b"))}) == 2
    assert (plain,) != (never,)


def test_connect_in_both_forms() -> None:
    """RFC 9113 section 8.5; RFC 8441, which rules read as the GET that it is in HTTP/1.1."""
    plain = request_head(((b":method", b"CONNECT"), POST[3]))
    assert (plain.method, plain.path, plain.authority) == (b"CONNECT", b"", POST[3][1])
    extended = request_head(((b":method", b"CONNECT"), (b":protocol", b"websocket"), *POST[1:]))
    assert (extended.method, extended.protocol, extended.path) == (b"GET", b"websocket", POST[2][1])
