"""Both pairs of the comparison have the same switched on, seen from outside."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import run
from bench.processes import listening
from bench.workloads import HTTP1_PATH

pytestmark = pytest.mark.long
CONTEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@contextmanager
def application() -> Iterator[tuple[int, list[tuple[str, str, str]]]]:
    """Its port, and what it was asked: method, path, traceparent."""
    asked: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked.append((self.command, self.path, self.headers.get("traceparent", "")))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def call(port: int, method: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("side", list(run.PAIRS))
def test_a_pair_asks_permission_and_joins_traces_that_nobody_samples(side: str, tmp_path: Path) -> None:
    if side == "envoy":
        pytest.importorskip("envoy", reason="needs the bench extra")
    with ExitStack() as stack, application() as (app_port, asked):
        pair = run.PAIRS[side](stack, tmp_path, app_port, True)
        pair.first.wait_until(listening(pair.port), "it listened")
        pair.first.wait_until(lambda: call(pair.port, "POST", HTTP1_PATH) == 200, "a call succeeded")
        assert call(pair.port, "POST", HTTP1_PATH, traceparent=CONTEXT) == 200
        assert call(pair.port, "GET", HTTP1_PATH) == 403
        assert call(pair.port, "POST", "/admin") == 403
    assert {(method, path) for method, path, _ in asked} == {("POST", HTTP1_PATH)}
    begun, came = (context for _, _, context in asked[-2:])
    assert begun.startswith("00-") and begun.endswith("-00") and len(begun) == len(CONTEXT)
    assert came[:36] == CONTEXT[:36] and came.endswith("-00")
