"""Heads read by llhttp."""

import httptools

from .errors import BadMessage
from .strict import check_head, request_line, status_line

Fields = list[tuple[bytes, bytes]]  # as they came, but for white space around values

_TRAILERS = b"GET / HTTP/1.1\r\n"  # llhttp reads trailers as it reads fields


class _Sink:
    """llhttp's callbacks."""

    __slots__ = ("fields", "whole")

    def __init__(self) -> None:
        self.fields: Fields = []
        self.whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.whole = True


def read_request(raw: bytes) -> tuple[bytes, bytes, bytes, Fields]:
    """Method, target, version ("1.1") and fields of a whole head. Raises BadMessage."""
    check_head(raw)
    method, target, version = request_line(raw).split(b" ")
    return method, target, version[5:], _fields(raw, httptools.HttpRequestParser)


def read_response(raw: bytes) -> tuple[int, bytes, Fields]:
    """Status, version ("1.1") and fields of a whole head. Raises BadMessage."""
    check_head(raw)
    line = status_line(raw)
    return int(line[9:12]), line[5:8], _fields(raw, httptools.HttpResponseParser)


def read_trailers(raw: bytes) -> Fields:
    """The fields of a trailer section, its empty line included. Raises BadMessage."""
    head = _TRAILERS + raw
    check_head(head)
    return _fields(head, httptools.HttpRequestParser)


def _fields(raw: bytes, parser: "type[httptools.HttpRequestParser | httptools.HttpResponseParser]") -> Fields:
    sink = _Sink()
    try:
        parser(sink).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the head is over, and what follows would be another protocol's
    except httptools.HttpParserInvalidMethodError:
        raise BadMessage("the method is not one of HTTP's", 501) from None
    except httptools.HttpParserError as error:
        raise BadMessage(f"the head is malformed ({str(error)[:80].lower()})") from None
    if not sink.whole:
        raise BadMessage("the head is malformed")
    return sink.fields
