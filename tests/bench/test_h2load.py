"""Reading what h2load prints and logs."""

import pytest

from bench import h2load
from bench.errors import LoadFailed

SUMMARY = """
finished in 180.77ms, 110638.05 req/s, 14.35MB/s
requests: 20000 total, 20000 started, 20000 done, {good} succeeded, {bad} failed, 0 errored, 0 timeout
status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_seconds_of_a_good_run() -> None:
    assert h2load.parse_seconds(SUMMARY.format(good=20000, bad=0), 20000) == pytest.approx(0.18077)


@pytest.mark.parametrize(("text", "seconds"), [("4.19s", 4.19), ("15.00ms", 0.015), ("900us", 0.0009)])
def test_units(text: str, seconds: float) -> None:
    summary = SUMMARY.format(good=20000, bad=0).replace("180.77ms", text)
    assert h2load.parse_seconds(summary, 20000) == pytest.approx(seconds)


def test_a_failed_request_fails_the_run() -> None:
    with pytest.raises(LoadFailed, match="19999 of 20000"):
        h2load.parse_seconds(SUMMARY.format(good=19999, bad=1), 20000)


def test_no_summary_fails_the_run() -> None:
    with pytest.raises(LoadFailed, match="no summary"):
        h2load.parse_seconds("could not connect", 5)


def test_log_gives_ascending_milliseconds() -> None:
    assert h2load.parse_log("1700000000000001\t200\t2500\n1700000000000002\t200\t400\n") == [0.4, 2.5]


def test_log_with_another_status_fails_the_run() -> None:
    with pytest.raises(LoadFailed, match="status -1"):
        h2load.parse_log("1700000000000001\t-1\t2500\n")
