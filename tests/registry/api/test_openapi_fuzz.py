"""Requests that the OpenAPI document allows, made up by schemathesis: nothing breaks the registry.

5xx only where Consul answers so (docs of `registry/api/errors.py`), told by the text.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from registry.api.openapi import document
from registry.api.routes import ROUTES
from tests.support.processes import Processes
from tests.support.waiting import until

EXAMPLES = 12  # of each operation
TIMEOUT_S = 30.0
END_THE_STORY = (
    *("/v1/operator/raft/peer", "/v1/operator/raft/transfer-leader", "/v1/snapshot", "/v1/agent/leave"),
)
FOLLOWED = ("/v1/agent/monitor", "/v1/agent/metrics/stream")
ALLOWED = re.compile(
    r"No path to datacenter|Failed to create boolean expression evaluator: |required query parameter '"
    r"|strconv\.ParseUint: |CheckID \".*\" does not have associated TTL|discovery chain |[Ii]nvalid session"
)


@pytest.mark.long
async def test_nothing_that_the_document_allows_breaks_the_registry(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with Processes(tmp_path) as running:
        ports = ("--http-port", "0", "--grpc-port", "0", "--dns-port", "-1")
        child = running.start_weft("dev", "dev", *ports, "--ready-file", str(ready))
        await until(ready.exists, "the registry is ready")
        base = f"http://{orjson.loads(ready.read_bytes())['http']}"
        schema = schemathesis.openapi.from_dict(document(ROUTES))
        wrong: list[str] = []
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation: Any = found.ok()
            if operation.path not in END_THE_STORY:
                wrong += broken_by(operation, base)
        assert wrong == []
        assert child.exit_code is None
        leader = await asyncio.to_thread(requests.get, f"{base}/v1/status/leader", timeout=TIMEOUT_S)
        assert leader.status_code == 200
        assert "request failed" not in child.said()


def broken_by(operation: Any, base: str) -> list[str]:
    """Answers that should not have been given, in words."""
    wrong: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.query = {**(case.query or {}), "wait": "1ms"}  # or a made up index would park it for minutes
        if "/tap/" in operation.path or operation.path in FOLLOWED:
            case.query["seconds"] = "0.01"  # or the answer would go on for a minute
        answer = case.call(base_url=base, timeout=TIMEOUT_S)
        health = answer.status_code == 503 and "/agent/health/" in operation.path
        if answer.status_code >= 500 and not health and not ALLOWED.match(answer.text):
            wrong.append(f"{operation.method} {answer.request.url}: {answer.status_code} {answer.text[:200]}")

    ask()
    return wrong
