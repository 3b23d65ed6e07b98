"""`weft canary`: what people type, and what they see."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from tests.support.dev import Dev, running_dev
from weft.cli import run
from weft.cli.canary_view import picture

Weft = Callable[..., str]
RESOLVER = {
    "Kind": "service-resolver",
    "Name": "orders",
    "DefaultSubset": "v1",
    "Subsets": {"v1": {}, "v2": {}},
}


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1") as found:
        definition = {"Name": "orders", "Port": 1, "Connect": {"SidecarService": {"Checks": []}}}
        found.ok("PUT", "/v1/agent/service/register", definition)
        found.ok("PUT", "/v1/config", RESOLVER)
        yield found


@pytest.fixture
def weft(dev: Dev, capsys: pytest.CaptureFixture[str]) -> Weft:
    def call(*arguments: str, code: int = 0) -> str:
        assert run([*arguments, "--http-addr", dev.http]) == code
        told = capsys.readouterr()
        return told.out if code == 0 else told.err

    return call


def test_the_verb_in_one_line_says_all_limits(weft: Weft, dev: Dev) -> None:
    limits = (
        "--steps",
        "1,5%,25,50,100",
        "--interval",
        "1m",
        "--max-error-rate",
        "0.5%",
        "--max-p99",
        "300ms",
    )
    more = ("--min-requests", "50", "--patience", "5m", "--sticky", "header:x-user")
    told = weft("canary", "start", "orders", "--to", "v2", *limits, *more)
    assert told == "Canary started: orders to v2, 1 %, 5 %, 25 %, 50 %, 100 %\n"
    entry = dev.ok("GET", "/v1/config/service-canary/orders")
    assert {key: entry[key] for key in ("Steps", "Interval", "MaxErrorPercent", "MaxP99", "MinRequests")} == {
        "Steps": [1, 5, 25, 50, 100],
        "Interval": "1m0s",
        "MaxErrorPercent": 0.5,
        "MaxP99": "300ms",
        "MinRequests": 50,
    }
    assert entry["Sticky"] == [{"Field": "header", "FieldValue": "x-user"}]
    assert "running" in weft("canary", "status")
    shown = weft("canary", "status", "orders").splitlines()
    assert shown[1].split()[:3] == ["orders", "v2", "running"]
    assert any(line.split()[1:3] == ["start", "0"] for line in shown[2:])
    found = json.loads(weft("canary", "status", "orders", "--format", "json"))
    assert found[0]["Live"]["Requests"] == 0
    assert weft("canary", "pause", "orders", "--reason", "lunch").startswith("Canary paused: orders, ")
    assert "paused, not running" in weft("canary", "pause", "orders", code=1)
    weft("canary", "resume", "orders")
    assert weft("canary", "abort", "orders") == "Canary aborted: orders, 0 %\n"
    assert "canary of orders aborted" in weft("canary", "status", "orders", "--watch", code=1)
    weft("canary", "start", "orders", "--to", "v2")
    assert weft("canary", "promote", "orders") == "Canary promoted: orders, 100 %\n"
    assert "100 %" in weft("canary", "status", "orders", "--watch")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("start", "orders"), 2, "--to"),
        (("start", "orders", "--to", "v9"), 1, "has no subset 'v9': write it first"),
        (
            ("start", "orders", "--to", "v2", "--steps", "one"),
            2,
            "write rising percentages, as 1,5,25,50,100",
        ),
        (("start", "orders", "--to", "v2", "--steps", "5,1"), 1, "Steps: must rise"),
        (("start", "orders", "--to", "v2", "--max-error-rate", "101%"), 2, "write a percentage"),
        (("start", "orders", "--to", "v2", "--sticky", "x-user"), 2, "write header:NAME"),
        (("start", "orders", "--to", "v2", "--interval", "soon"), 1, "Interval: must be a duration"),
        (("status", "nobody"), 1, "no canary of nobody"),
        (("abort", "nobody"), 1, "no canary of nobody"),
        (("status", "--watch"), 2, "name its service"),
    ],
)
def test_wrong_calls_are_one_line(weft: Weft, arguments: tuple[str, ...], code: int, said: str) -> None:
    told = weft("canary", *arguments, code=code)
    assert said in told
    assert len(told.strip().splitlines()) == 1


def drawn(row: dict[str, Any]) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(picture(row))
    return out.getvalue()


def test_the_live_view_shows_weight_figures_and_history() -> None:
    live = {"Requests": 1290, "ErrorRate": 0.001, "P99Ms": 12.1, "Next": "good so far, 34s of 1m0s"}
    history = [{"Time": "2026-03-01T09:31:01.000Z", "Event": "step", "Weight": 25, "Reason": "good"}]
    row = {
        "Name": "orders",
        "ServiceSubset": "v2",
        "Steps": [5, 25, 100],
        "Weight": 25,
        "Status": {"Phase": "running", "Step": 2, "History": history},
        "Live": live,
    }
    told = drawn(row).splitlines()
    assert told[0] == "orders → v2  running  step 2 of 3"
    assert told[1] == "█" * 10 + "·" * 29 + "┊" + "  25 %"
    assert told[2] == "1290 calls, 0.10 % failed, p99 12.1 ms; good so far, 34s of 1m0s"
    assert told[3].split() == ["09:31:01", "step", "25", "%", "good"]
    assert "no calls yet" in drawn(row | {"Live": live | {"Requests": 0}})
    assert "calls" not in drawn({key: value for key, value in row.items() if key != "Live"})
