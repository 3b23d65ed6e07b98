"""How each refusal looks on the wire: one table for HTTP status, gRPC status and what becomes of the
stream.

A gRPC request (content-type application/grpc) gets HTTP 200 with `grpc_status` and `grpc_message` as
trailers only; any other gets `http_status`. Where `reset_code` is set the stream is reset with that RFC
9113 code and nothing is answered, because the caller's proxy must learn that nothing was processed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from . import errors

NOT_RESET = -1
REFUSED_STREAM = 0x7  # RFC 9113 section 7

PERMISSION_DENIED, RESOURCE_EXHAUSTED = 7, 8
DEADLINE_EXCEEDED, UNIMPLEMENTED = 4, 12
INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 13, 14, 16
_BEARER = ((b"www-authenticate", b"Bearer"),)  # RFC 9110 section 15.5.2


class Answer(NamedTuple):
    """`reason` labels the counter of errors, and is told to callers without gRPC in `x-weft-reason`."""

    http_status: int
    grpc_status: int
    grpc_message: str
    reason: str
    reset_code: int = NOT_RESET
    fields: tuple[tuple[bytes, bytes], ...] = ()  # more of an answer that is not gRPC's


ANSWERS: Mapping[type[errors.RequestRefused], Answer] = MappingProxyType(
    {
        errors.MalformedRequest: Answer(400, INTERNAL, "weft: malformed request", "malformed"),
        errors.HeadersTooLarge: Answer(
            431, RESOURCE_EXHAUSTED, "weft: request headers too large", "headers_too_large"
        ),
        errors.AmbiguousRequest: Answer(400, INTERNAL, "weft: ambiguous request", "ambiguous"),
        errors.TokenRefused: Answer(
            401, UNAUTHENTICATED, "weft: no valid token", "unauthenticated", fields=_BEARER
        ),
        errors.RateLimited: Answer(429, RESOURCE_EXHAUSTED, "weft: rate limited", "rate_limited"),
        errors.FaultInjected: Answer(503, UNAVAILABLE, "weft: fault injected", "fault"),
        errors.CallerDenied: Answer(403, PERMISSION_DENIED, "weft: denied by intention", "denied"),
        errors.NoRoute: Answer(404, UNIMPLEMENTED, "weft: no route matches", "no_route"),
        errors.NoInstance: Answer(503, UNAVAILABLE, "weft: no healthy instance", "no_instance"),
        errors.ConnectFailed: Answer(
            503, UNAVAILABLE, "weft: connection to instance failed", "connect_failed"
        ),
        errors.DeadlineExceeded: Answer(
            504, DEADLINE_EXCEEDED, "weft: the deadline has passed", "deadline_exceeded"
        ),
        errors.ConnectionsFull: Answer(503, UNAVAILABLE, "weft: too many connections", "connections_full"),
        errors.RequestsFull: Answer(503, UNAVAILABLE, "weft: too many requests under way", "requests_full"),
        errors.PendingFull: Answer(503, UNAVAILABLE, "weft: too many pending requests", "pending_full"),
        errors.UpstreamLost: Answer(502, UNAVAILABLE, "weft: connection to instance lost", "upstream_lost"),
        errors.NotParsed: Answer(
            403, PERMISSION_DENIED, "weft: only HTTP is let through here, as rules read it", "not_parsed"
        ),
        errors.EgressDenied: Answer(
            403, PERMISSION_DENIED, "weft: no egress rule admits the destination", "egress_denied"
        ),
        errors.AppUnreachable: Answer(
            503, UNAVAILABLE, "weft: application unreachable", "app_unreachable", reset_code=REFUSED_STREAM
        ),
        errors.AppUnhealthy: Answer(
            503, UNAVAILABLE, "weft: application unhealthy", "app_unhealthy", reset_code=REFUSED_STREAM
        ),
    }
)
