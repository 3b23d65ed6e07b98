"""What an agent makes of the servers' answers: where they are, and how another node is."""

from typing import Any

import pytest

from registry.agent.status import Outcome
from registry.catalog.model import Check, CheckDefinition
from registry.client_agent.discovery import https_addresses
from registry.client_agent.remote_alias import outcome


def server(address: str, port: str, service_address: str = "") -> dict[str, Any]:
    meta = {"https_port": port} if port else {}
    return {"Node": {"Address": address}, "Service": {"Address": service_address, "Meta": meta}}


def test_servers_are_where_they_say() -> None:
    rows = [
        server("10.0.0.1", "8501"),
        server("10.0.0.2", "9501", "192.0.2.7"),
        server("fd00::1", "8501"),
        server("10.0.0.4", ""),
        server("10.0.0.5", "x"),
    ]
    assert list(https_addresses(rows)) == ["10.0.0.1:8501", "192.0.2.7:9501", "[fd00::1]:8501"]


def follows(service: str = "") -> Check:
    definition = CheckDefinition(alias_node="other", alias_service=service)
    return Check("n1", "alias", "alias", "critical", type="alias", definition=definition)


def row(check_id: str, status: str, service_id: str = "") -> dict[str, Any]:
    shown = {"Node": "other", "CheckID": check_id, "Name": check_id, "Status": status}
    return {**shown, "Output": "told", "ServiceID": service_id}


NODE: dict[str, Any] = {"Node": {}, "Services": {"web": {}, "api": {}}}


@pytest.mark.parametrize(
    ("service", "node", "checks", "status"),
    [
        ("", NODE, [], "passing"),
        ("", None, [], "critical"),
        ("", NODE, [row("disk", "warning")], "warning"),
        ("", NODE, [row("w", "critical", "web")], "passing"),
        ("web", NODE, [row("w", "critical", "web")], "critical"),
        ("web", NODE, [row("w", "critical", "api")], "passing"),
        ("web", NODE, [row("serfHealth", "critical")], "critical"),
        ("gone", NODE, [], "critical"),
    ],
)
def test_an_alias_of_another_node(
    service: str, node: dict[str, Any] | None, checks: list[dict[str, Any]], status: str
) -> None:
    found = outcome(follows(service), node, checks)
    assert isinstance(found, Outcome)
    assert found.status == status
