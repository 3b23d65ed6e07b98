"""Trap 1: a loopback listener serves this machine's programs, and no web page."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.api.errors import Forbidden
from registry.api.guard import check_caller, names_loopback


@pytest.mark.parametrize("host", ["127.0.0.1:8500", "localhost", "LOCALHOST:1", "[::1]:8500", "127.0.0.53"])
def test_trap_1_loopback_hosts_are_served(host: str) -> None:
    check_caller({"Host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8500",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "localhost.evil:1",
        "[::1].x",
        "[::1]x:1",
        "localhost:x",
    ],
)
def test_trap_1_a_rebound_name_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        check_caller({"Host": host})


@pytest.mark.parametrize(
    "extra",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_trap_1_a_page_of_another_origin_is_refused(extra: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        check_caller({"Host": "127.0.0.1:8500", **extra})


def test_trap_1_the_own_origin_is_served() -> None:
    check_caller(
        {"Host": "127.0.0.1:8500", "Origin": "http://127.0.0.1:8500", "Sec-Fetch-Site": "same-origin"}
    )


@given(st.text(max_size=40) | st.from_regex(r"\A[\[\]0-9a-f.:lochst%]{1,30}\Z"))
def test_trap_1_whatever_host_is_sent_only_loopback_is_served(host: str) -> None:
    if names_loopback(host):
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        assert name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
