"""What is wrong with an instance is said in one line."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.dev import Dev, running_dev
from tests.support.waiting import until
from weft.cli import run
from weft.cli.ailments import ailments

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1") as found:
        yield found


def said(output: str, ago_s: float | None, status: str = "critical", check_id: str = "c") -> list[str]:
    check = {
        "Node": "n",
        "CheckID": check_id,
        "Name": "c",
        "Status": status,
        "Output": output,
        "Notes": "disk",
    }
    passed = {} if ago_s is None else {("n", check_id): NOW - timedelta(seconds=ago_s)}
    return list(ailments([{"Service": {"ID": "orders-1"}, "Checks": [check]}], passed, NOW))


def test_lines() -> None:
    assert said("refused on a:1", 12) == ["orders-1 is critical: refused on a:1; last passed 12 s ago"]
    assert said("slow\nand more", 250, "warning") == ["orders-1 is warning: slow; last passed 4m10s ago"]
    assert said("", None) == ["orders-1 is critical: check c has said nothing yet"]
    assert said("x" * 999, None)[0].endswith("xxx...")
    assert said("", None, check_id="_service_maintenance:orders-1") == ["orders-1 is in maintenance: disk"]
    assert said("", None, "passing") == []


async def test_a_dead_application_is_named_with_its_address_and_when_it_lived(
    dev: Dev, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        check = {"TCP": f"127.0.0.1:{port}", "Interval": "100ms"}
        dev.ok("PUT", "/v1/agent/service/register", {"Name": "orders", "ID": "orders-1", "Check": check})
        await until(lambda: bool(dev.passing("orders")), "it passes")
    await until(lambda: not dev.passing("orders"), "it is critical")
    assert run(["catalog", "instances", "orders", "--http-addr", dev.http]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith(f"orders-1 is critical: connection refused on 127.0.0.1:{port}; last passed ")
    assert line.endswith(" ago")
