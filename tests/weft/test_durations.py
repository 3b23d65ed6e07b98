import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.durations import InvalidDuration, format_duration, parse_duration_ns, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("100ms", 0.1),
        ("1.5h", 5400),
        ("72h", 259200),
        ("0", 0),
        ("-5s", -5),
        (".5s", 0.5),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-", "10", "s", "10 s", "1d", "10S", "1h ", "x", "1" * 100 + "h", "1m30"]
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidDuration):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (10, "10s"),
        (90, "1m30s"),
        (0.1, "100ms"),
        (259200, "72h0m0s"),
        (1.5, "1.5s"),
        (-2, "-2s"),
        (2e-6, "2µs"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_what_is_written_is_read_back(microseconds: int) -> None:
    assert parse_duration_ns(format_duration(microseconds / 10**6)) == pytest.approx(
        microseconds * 1000, abs=999
    )
