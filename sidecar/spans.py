"""Ended requests as OpenTelemetry's spans, by its semantic conventions for HTTP and RPC (version 1.40).

Imports of the SDK cost a megabyte and a tenth of a second, so only a sidecar that exports spans has them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from weft import __version__
from weft.grpc_status import STATUSES

from .calls import EndedCall
from .telemetry import Direction

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

NANO = 1_000_000_000
# Statuses that are the server's failure, where the others may be the client's (conventions for gRPC).
_SERVER_FAILURES = frozenset((2, 4, 12, 13, 14, 15))


class SpanMaker:
    """Of one sidecar: spans appear under the service's own name, as those of scope "weft.sidecar"."""

    def __init__(self, service: str, instance_key: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource({"service.name": service, "service.instance.id": instance_key})
        self._scope = InstrumentationScope("weft.sidecar", __version__)

    def spans(self, ended: Iterable[EndedCall]) -> "list[ReadableSpan]":
        return [self._span(call) for call in ended]

    def _span(self, ended: EndedCall) -> "ReadableSpan":
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind, Status, StatusCode

        outbound = ended.call.direction is Direction.OUTBOUND
        begin = int(ended.started_s * NANO)
        error = error_type(ended)
        return ReadableSpan(
            name=_name(ended),
            context=_context(ended.trace_id, ended.span_id),
            parent=_context(ended.trace_id, ended.parent_id) if ended.parent_id else None,
            resource=self._resource,
            attributes=attributes(ended, error),
            kind=SpanKind.CLIENT if outbound else SpanKind.SERVER,
            status=Status(StatusCode.ERROR, ended.reason or None) if error else Status(StatusCode.UNSET),
            start_time=begin,
            end_time=begin + int(ended.seconds * NANO),
            instrumentation_scope=self._scope,
        )


def _context(trace_id: str, span_id: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))


def _name(ended: EndedCall) -> str:
    """Of few values: a gRPC method, or the method of HTTP with the route's name where it has one."""
    if ended.grpc:
        return ended.path.lstrip("/")
    route = ended.call.route
    return f"{ended.method} {route}" if route else ended.method


def error_type(ended: EndedCall) -> str:
    """`error.type`: "" where the span is no error. Clients and servers judge differently."""
    outbound = ended.call.direction is Direction.OUTBOUND
    status = ended.grpc_status
    if status >= 0 and (ended.grpc or not ended.http_status):
        failed = status > 0 if outbound else status in _SERVER_FAILURES
        return STATUSES[status] if failed else ""
    if not ended.http_status:
        return ended.reason or "no_response"
    return str(ended.http_status) if ended.http_status >= (400 if outbound else 500) else ""


def attributes(ended: EndedCall, error: str) -> dict[str, str | int]:
    call = ended.call
    host, port = _split(ended.instance_address if call.direction is Direction.OUTBOUND else ended.authority)
    client, client_port = _split(ended.peer_address)
    told: dict[str, str | int] = {
        "network.protocol.name": "http",
        "server.address": host,
        "server.port": port,
        "client.address": client,
        "client.port": client_port,
        "error.type": error,
        "weft.direction": call.direction.value,
        "weft.source": call.source,
        "weft.destination": call.destination,
        "weft.route": call.route,
        "weft.target": call.target,
        "weft.instance": ended.instance,
        "weft.reason": ended.reason,
        "http.request.resend_count": ended.attempts - 1,
        "user_agent.original": dict(ended.headers).get("user-agent", ""),
        **(_rpc(ended) if ended.grpc else _http(ended)),
    }
    return {name: value for name, value in told.items() if value not in ("", 0)}


def _rpc(ended: EndedCall) -> dict[str, str | int]:
    status = ended.grpc_status
    return {
        "rpc.system.name": "grpc",
        "rpc.method": ended.path.lstrip("/"),
        "rpc.response.status_code": STATUSES[status] if status >= 0 else "",
    }


def _http(ended: EndedCall) -> dict[str, str | int]:
    return {
        "http.request.method": ended.method,
        "http.response.status_code": ended.http_status,
        "url.path": ended.path,
        "url.scheme": "http",
    }


def _split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; a Unix socket and a bare host have port 0."""
    host, colon, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdigit() else (address, 0)
