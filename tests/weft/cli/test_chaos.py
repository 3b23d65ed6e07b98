"""`weft chaos`: what its words become, and what it refuses by itself."""

import pytest

from weft.cli import run
from weft.cli.chaos import delay_of, told


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("200ms", {"Distribution": "fixed", "Fixed": "200ms"}),
        ("1.5s", {"Distribution": "fixed", "Fixed": "1.5s"}),
        ("100ms..2s", {"Distribution": "uniform", "Min": "100ms", "Max": "2s"}),
        ("200ms+-50ms", {"Distribution": "normal", "Mean": "200ms", "Deviation": "50ms"}),
        ("~200ms", {"Distribution": "exponential", "Mean": "200ms"}),
    ],
)
def test_delays(text: str, means: dict[str, str]) -> None:
    assert delay_of(text) == means


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("start", "orders"), "say what to do: --abort, --delay, --bandwidth or --reset"),
        (("start", "orders", "--abort", "99"), "write 503 or UNAVAILABLE"),
        (("start", "orders", "--abort", "OK"), "write 503 or UNAVAILABLE"),
        (("start", "orders", "--delay", "~"), "write 200ms, 100ms..2s, 200ms+-50ms or ~200ms"),
        (("start", "orders", "--bandwidth", "fast"), "write bytes per second, as 64k"),
        (("start", "orders", "--reset", "--header", "x"), "write NAME=VALUE"),
        (("start", "orders", "--reset", "--percent", "0"), "0"),
        (("stop",), "give a name, or --all"),
        (("stop", "exp1", "--all"), "give a name, or --all"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chaos", *arguments, "--http-addr", "127.0.0.1:1"]) == 2
    assert says in capsys.readouterr().err


def test_a_fault_in_some_words() -> None:
    fault = {
        "Abort": {"GRPCStatus": 14},
        "Delay": {"Distribution": "uniform", "Min": "1s", "Max": "2s"},
        "BytesPerSecond": 64_000,
        "Percent": 2.5,
        "Match": {"Sources": ["web"]},
    }
    assert told(fault) == (
        'abort UNAVAILABLE, delay uniform Min=1s Max=2s, 64000 bytes/s on 2.5 % of {"Sources":["web"]}'
    )
