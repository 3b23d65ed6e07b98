"""A request that has ended, and collectors that take its span by OTLP: the generated service over gRPC, and
HTTP with the same messages."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sidecar.calls import EndedCall
from sidecar.telemetry import Call, Direction

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"


def ended(direction: Direction = Direction.OUTBOUND, grpc: bool = True, status: int = 14) -> EndedCall:
    return EndedCall(
        call=Call(direction, "web", "orders", "cheap", "v2.orders.default.default.dc1"),
        started_s=1_700_000_000.25,
        seconds=0.5,
        method="POST" if grpc else "GET",
        path="/shop.Orders/Get" if grpc else "/orders/7",
        authority="orders",
        grpc=grpc,
        http_status=200 if grpc else status,
        grpc_status=status if grpc else -1,
        reason="",
        attempts=2,
        instance="dc1/n/orders-1",
        instance_address="127.0.0.1:21000",
        peer_address="[::1]:4000",
        trace_id=TRACE,
        span_id=SPAN,
        parent_id=PARENT,
        headers=(("user-agent", "test"),),
    )


class Received:
    """What came, in order."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def values(attributes: Any) -> dict[str, str | int]:
    """Attributes of a span or a resource."""
    return {
        pair.key: pair.value.string_value if pair.value.HasField("string_value") else pair.value.int_value
        for pair in attributes
    }


@contextmanager
def grpc_collector() -> Iterator[Received]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    received = Received(f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            received.requests.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait()


@contextmanager
def http_collector() -> Iterator[Received]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            if self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf":
                received.requests.append(request)
                self.send_response(200)
            else:
                self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received = Received(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
