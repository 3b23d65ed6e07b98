"""The bench of the registry's API, tiny: the clients' tasks, a server, and figures that fit the tables."""

import pytest

from bench import registry_api, registry_api_report
from bench.registry_clients import field, percentiles, registration
from tests.bench.test_smoke import children

ABOUT = dict.fromkeys(("date", "cpu", "cores", "kernel", "python", "rounds", "command"), "x")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PARKED": 1000,  # one of each watched service
        "SIDECARS": 100,
        "SMALL_CHANGES": 2,
        "LARGE_CHANGES": 2,
        "_PARK_ROUND_S": 0.2,
    }.items():
        monkeypatch.setattr(registry_api, name, value)


def test_one_server_is_measured_and_nothing_is_left_running(tiny: None) -> None:
    before = children()
    found = registry_api.one(1, 0.05, lambda _: None)
    assert found["health_read_64"]["per_s"] > 0
    assert found["parked"]["woken"] == 20
    assert found["subscribed"]["ten"]["p50_ms"] <= found["subscribed"]["ten"]["last_p99_ms"]
    assert children() == before
    policy = {"p50_ms": 1.0, "p99_ms": 2.0, "longest_ms": 3.0}
    both = {"one": found, "three": {"kv_write_64": found["kv_write_64"], "policy": policy}}
    page = registry_api_report.markdown(both, ABOUT)
    assert "1,000 parked blocking queries" in page
    assert "touches 1 of 100 subscribed sidecars" in page
    assert "in force on a server, p50 / p99 / longest ms | 1.0 / 2.0 / 3.0 |" in page


def test_fields_of_an_answer_are_found() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 17\r\nContent-Length: 2"
    assert field(head, b"X-Consul-Index") == b"17"
    assert field(head, b"Content-Length") == b"2"
    assert field(head, b"X-Other") == b""


def test_instances_of_one_service_are_on_different_nodes() -> None:
    assert registration("a", 1, 1)["Node"] != registration("a", 2, 1)["Node"]
    assert percentiles([0.003, 0.001, 0.002]) == {"p50_ms": 2.0, "p99_ms": 3.0}
