"""The rules of RFC 9113 section 8 for the fields of a message, checked once per head.

A head is interned, so that what is paid here is paid once per distinct head of a connection. Messages
name the field and never its value, which may be a secret.
"""

import re
from collections.abc import Sequence

from .block import Field, Head, Kind
from .errors import ErrorCode, StreamFault
from .names import CONNECTION_SPECIFIC, READ_ALWAYS

FIELD_OVERHEAD_BYTES = 32  # RFC 9113 section 6.5.2, RFC 7541 section 4.1
CONTENT_LENGTH_DIGITS_MAX = 18  # below 2**63: no message is longer
GRPC_STATUS_UNKNOWN = 2
GRPC_STATUS_MAX = 16
NAME_SHOWN_MAX = 64  # of a name in a message

_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_protocol = re.compile(
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,16})?"
).fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_is_path = re.compile(rb"/[!-\"$-~\x80-\xff]*").fullmatch  # no fragment: "#" is left out
_is_authority = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z\[\]_a-z~]*").fullmatch  # no userinfo: "@" is left out

# Octets classed, for `1 in text.translate(...)`, a quarter of the cost of a match. In names 1 is wrong.
NOT_TOKEN = bytes(octet not in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" for octet in range(256))
# In values 1 is wrong and 2, white space, is wrong at the ends: as strict as nghttp2, hence as Envoy.
CONTROL, BLANK = 1, 2
MARKS = bytes(
    BLANK if octet in b" \t" else CONTROL if octet < 0x20 or octet == 0x7F else 0 for octet in range(256)
)

REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))
RESPONSE_PSEUDO = frozenset((b":status",))
NO_PSEUDO: frozenset[bytes] = frozenset()


def malformed(reason: str) -> StreamFault:
    """RFC 9113 section 8.1.1."""
    return StreamFault(ErrorCode.PROTOCOL_ERROR, reason)


def is_name(name: bytes) -> bool:
    """Whether `name` is a lower-case token (RFC 9113 section 8.2.1)."""
    return name != b"" and 1 not in name.translate(NOT_TOKEN)


def is_value(value: bytes) -> bool:
    """Whether `value` may stand in a field (RFC 9113 section 8.2.1, RFC 9110 section 5.5)."""
    marks = value.translate(MARKS)
    return not marks or not (CONTROL in marks or marks[0] or marks[-1])


def size_of(fields: Sequence[Field]) -> int:
    """Octets of a header list by RFC 9113 section 6.5.2."""
    return sum([len(name) + len(value) for name, value in fields]) + FIELD_OVERHEAD_BYTES * len(fields)


def request_head(fields: tuple[Field, ...]) -> Head:
    """The head of a request. Raises StreamFault where it is malformed (RFC 9113 section 8.3.1)."""
    head = Head(Kind.REQUEST, fields)
    pseudo = _take_pseudo(fields, REQUEST_PSEUDO)
    special = _check_regular(head, len(pseudo))
    head.method = pseudo.get(b":method", b"")
    head.scheme = pseudo.get(b":scheme", b"")
    head.path = pseudo.get(b":path", b"")
    if head.method != b"POST" and not _is_method(head.method):
        raise malformed("the request has no valid :method")
    if b":protocol" in pseudo or head.method == b"CONNECT":
        return _connect(head, pseudo, special)
    if head.scheme not in (b"http", b"https") and not _is_scheme(head.scheme):
        raise malformed("the request has no valid :scheme")
    if not _is_path(head.path) and (head.path, head.method) != (b"*", b"OPTIONS"):
        raise malformed("the request has no valid :path")
    head.authority = _authority(pseudo, special)
    return head


def _connect(head: Head, pseudo: dict[bytes, bytes], special: list[Field]) -> Head:
    """CONNECT (RFC 9113 section 8.5), and to another protocol (RFC 8441). Whether it is served, the switch
    decides. Rules read the latter as the GET that it is in HTTP/1.1."""
    if head.method != b"CONNECT":
        raise malformed("the request has a :protocol and is no CONNECT")
    protocol = pseudo.get(b":protocol")
    if protocol is None:
        if b":scheme" in pseudo or b":path" in pseudo:
            raise malformed("CONNECT with a :scheme or a :path")
    else:
        if not _is_protocol(protocol):
            raise malformed("the request has no valid :protocol")
        if not _is_scheme(head.scheme) or not _is_path(head.path):
            raise malformed("an extended CONNECT needs a :scheme and a :path")
        head.method, head.protocol = b"GET", protocol
    head.authority = _authority(pseudo, special)
    if not head.authority:
        raise malformed("CONNECT without :authority")
    return head


def response_head(fields: tuple[Field, ...]) -> Head:
    """The head of a response, final or informational (RFC 9113 section 8.3.2).

    Raises StreamFault where it is malformed.
    """
    head = Head(Kind.RESPONSE, fields)
    pseudo = _take_pseudo(fields, RESPONSE_PSEUDO)
    _check_regular(head, len(pseudo))
    status = pseudo.get(b":status", b"")
    if len(status) != 3 or not status.isdigit() or status < b"100":
        raise malformed("the response has no valid :status")
    head.status = int(status)
    if head.status == 101:
        raise malformed("the response has :status 101, which HTTP/2 does not know")
    if head.status < 200:
        head.kind = Kind.INFORMATIONAL
    return head


def trailers_head(fields: tuple[Field, ...]) -> Head:
    """The head of trailers (RFC 9113 section 8.1). Raises StreamFault where they are malformed."""
    head = Head(Kind.TRAILERS, fields)
    _take_pseudo(fields, NO_PSEUDO)
    _check_regular(head, 0)
    return head


def _take_pseudo(fields: tuple[Field, ...], known: frozenset[bytes]) -> dict[bytes, bytes]:
    """The pseudo-header fields in front. Those after a regular field fail as names later."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name not in known:
            raise malformed(f"the pseudo-header field {_shown(name)} is not known here")
        if name in pseudo:
            raise malformed(f"the pseudo-header field {_shown(name)} is given twice")
        pseudo[name] = value
    return pseudo


def _check_regular(head: Head, first: int) -> list[Field]:
    """Checks `head.fields[first:]` and returns those that have a meaning here."""
    special = []
    for field in head.fields[first:]:
        name, value = field
        if not name or 1 in name.translate(NOT_TOKEN):
            raise malformed(f"{_shown(name)} cannot be the name of a field, or not at this place")
        marks = value.translate(MARKS)
        if marks and (1 in marks or marks[0] or marks[-1]):  # is_value, inline: half the cost of a head
            raise malformed(f"the value of {_shown(name)} has an octet that no value may have")
        if name in READ_ALWAYS:
            special.append(field)
    if special:
        _take_special(head, special)
    head.size = size_of(head.fields)
    return special


def _take_special(head: Head, special: list[Field]) -> None:
    """Refuses what HTTP/2 has no place for, and fills the slots that do not depend on the kind alone."""
    for name, value in special:
        if name in CONNECTION_SPECIFIC:
            raise malformed(f"{_shown(name)} is a field of HTTP/1.1 connections")
        if name == b"te" and value != b"trailers":
            raise malformed("te says other than trailers")
    lengths = [value for name, value in special if name == b"content-length"]
    if lengths and head.kind is not Kind.TRAILERS:
        head.content_length = _content_length(lengths)
    statuses = [value for name, value in special if name == b"grpc-status"]
    if statuses and head.kind is not Kind.REQUEST:
        head.grpc_status = _grpc_status(statuses)


def _content_length(values: list[bytes]) -> int:
    value = values[0]
    if len(values) > 1 or not value.isdigit() or len(value) > CONTENT_LENGTH_DIGITS_MAX:
        raise malformed("content-length is not one number")
    return int(value)


def _grpc_status(values: list[bytes]) -> int:
    """What gRPC makes of the field: anything but one known code is UNKNOWN."""
    value = values[0]
    if len(values) > 1 or not value.isdigit() or len(value) > 2 or int(value) > GRPC_STATUS_MAX:
        return GRPC_STATUS_UNKNOWN
    return int(value)


def _authority(pseudo: dict[bytes, bytes], special: list[Field]) -> bytes:
    """RFC 9113 section 8.3.1: Host may only repeat :authority, or stand for it."""
    hosts = [value for name, value in special if name == b"host"]
    if len(hosts) > 1:
        raise malformed("host is given twice")
    authority = pseudo.get(b":authority", *hosts) if hosts else pseudo.get(b":authority", b"")
    if hosts and hosts[0].lower() != authority.lower():
        raise malformed("host is unlike :authority")
    if not _is_authority(authority):
        raise malformed("the request has no valid :authority")
    return authority


def _shown(name: bytes) -> str:
    return repr(name[:NAME_SHOWN_MAX].decode("latin-1"))
