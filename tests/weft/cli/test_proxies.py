"""`weft proxies` shows what the registry tells, and names servers that do not."""

import json
from typing import Any

import pytest

from weft.cli import run
from weft.cli.consul_api import Api

ROW = {
    "Instance": "dc1/n1/web",
    "Service": "web",
    "Server": "s1",
    "Version": "0.1.0",
    "State": "refused",
    "Index": 209,
    "SentIndex": 214,
    "Refused": "resource 'proxy' has port 70000",
    "Since": "2026-03-01T10:00:00Z",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the registry was asked."""
    found: list[Any] = []

    def call(_api: Api, method: str, path: str, query: Any) -> Any:
        found.append((method, path, query))
        return {"Proxies": [ROW], "Silent": ["s3"]}

    monkeypatch.setattr(Api, "call", call)
    return found


def test_the_table_has_the_reason(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxies", "web", "--state", "refused"]) == 0
    assert asked == [("GET", "/v1/mesh/proxies", {"service": "web", "state": "refused"})]
    told = capsys.readouterr()
    line = told.out.splitlines()[1]
    assert line.split()[:6] == ["dc1/n1/web", "web", "s1", "0.1.0", "refused", "209"]
    assert line.endswith("resource 'proxy' has port 70000")
    assert told.err == "server s3 does not answer: its sidecars are not shown\n"


def test_programs_get_all_of_it(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxies", "--format", "json"]) == 0
    assert asked == [("GET", "/v1/mesh/proxies", {})]
    assert json.loads(capsys.readouterr().out)["Proxies"] == [ROW]
