"""What the mesh tells of single requests, through real processes: traces and access logs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Pair
from tests.support.grpc_matrix import connect
from tests.support.matrix_app import SERVICE
from tests.support.mesh import Mesh, in_thread
from tests.support.otlp import PARENT, TRACE, grpc_collector
from tests.support.waiting import until


@contextmanager
def proxy_defaults(mesh: Mesh, **fields: Any) -> Iterator[None]:
    """In force for all sidecars of the mesh, until the end."""
    mesh.registry._ask("PUT", "config", {"Kind": "proxy-defaults", "Name": "global", **fields})
    try:
        yield
    finally:
        mesh.registry._ask("DELETE", "config/proxy-defaults/global")


async def test_both_hops_of_a_sampled_request_are_spans_of_its_trace(mesh: Mesh, pair: Pair) -> None:
    with grpc_collector() as received, proxy_defaults(mesh, Tracing={"OTLPEndpoint": received.endpoint}):
        async with connect(pair.target) as client:

            async def spans() -> list[Any]:
                call = client.unary(b"", metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),), timeout=10)
                await call
                return received.spans()

            await until(spans, "the sidecars have the entry and export", 60)
            await until(lambda: {2, 3} <= {span.kind for span in received.spans()}, "both of them do", 60)
        ours = [span for span in received.spans() if span.name == f"{SERVICE}/Unary"]
        assert {span.trace_id.hex() for span in ours} == {TRACE}
        servers = {span.parent_span_id for span in ours if span.kind == span.SPAN_KIND_SERVER}
        callers = {span.span_id for span in ours if span.kind == span.SPAN_KIND_CLIENT}
        assert servers & callers, "the called one's span hangs on the caller's"


async def test_each_sidecar_writes_its_access_log(mesh: Mesh, pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    logs = {"Enabled": True, "Type": "file", "Path": str(path)}

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def both() -> bool:
        await client.name()
        return {line["direction"] for line in lines()} == {"inbound", "outbound"}

    with proxy_defaults(mesh, AccessLogs=logs):
        async with connect(pair.target) as client:
            await until(both, "both sidecars log", 60)
    for line in await in_thread(lines):
        assert (line["source"], line["destination"]) == (pair.client.service, pair.server.service)
        assert (line["path"], line["grpc_status"]) == (f"/{SERVICE}/Name", 0)
