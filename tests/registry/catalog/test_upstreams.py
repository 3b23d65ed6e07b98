"""What a registration may say about upstreams, and what Weft reads from their Config."""

import json

import pytest

from registry.catalog.model import Upstream
from registry.catalog.proxy_config import read_upstream
from registry.config_entries.service_defaults import Limits, PassiveHealthCheck, UpstreamConfig
from registry.errors import InvalidCommand
from tests.support.catalog import World, proxy


def _register(*upstreams: Upstream) -> None:
    World.set_up().register(proxy("web-1", "web", upstreams=upstreams))


@pytest.mark.parametrize(
    ("upstream", "says"),
    [
        (Upstream("orders"), "either LocalBindPort or LocalBindSocketPath"),
        (Upstream("orders", 1, local_bind_socket_path="/s"), "either"),
        (Upstream("orders", 1, local_bind_address="0.0.0.0"), "loopback"),
        (Upstream("orders", 1, local_bind_address="10.0.0.1"), "loopback"),
        (Upstream("orders", 1, datacenter="dc2"), "Datacenter"),
        (Upstream("orders", 1, destination_type="prepared_query"), "DestinationType"),
        (Upstream("", 1), "DestinationName"),
        (Upstream("orders", local_bind_socket_path="rel"), "absolute path"),
        (Upstream("orders", local_bind_socket_path="/s", local_bind_socket_mode="9"), "octal"),
        (Upstream("orders", 1, config_json=b"[1]"), "JSON object"),
        (Upstream("orders", 1, config_json=b"[" * 100_000), "Config"),
        (Upstream("orders", 1, config_json=b'{"a":' * 1000), "Config"),
    ],
)
def test_bad_upstreams_are_refused_by_name(upstream: Upstream, says: str) -> None:
    with pytest.raises(InvalidCommand, match=says):
        _register(upstream)


def test_destinations_and_addresses_are_declared_once() -> None:
    _register(Upstream("a", 1), Upstream("b", 2), Upstream("c", local_bind_socket_path="/run/c.sock"))
    with pytest.raises(InvalidCommand, match="declared twice"):
        _register(Upstream("a", 1), Upstream("a", 2))
    with pytest.raises(InvalidCommand, match="declared twice"):
        _register(Upstream("a", 1), Upstream("b", 1, local_bind_address="localhost"))


def test_config_is_read_in_every_spelling() -> None:
    config = {
        "Protocol": "GRPC",
        "balance": "round_robin",
        "ConnectTimeoutMs": 250.0,
        "limits": {"MaxPendingRequests": 7, "max_connections": 3},
        "PassiveHealthCheck": {
            "MaxFailures": 2,
            "BaseEjectionTime": "1m",
            "MaxEjectionTime": 600_000_000_000,
            "max_ejection_percent": 25,
            "Interval": "10s",
        },
        "envoy_cluster_json": "{}",
    }
    assert read_upstream(json.dumps(config).encode(), "Config") == UpstreamConfig(
        protocol="grpc",
        balance="round_robin",
        connect_timeout_ms=250,
        limits=Limits(max_pending=7, max_connections=3),
        passive=PassiveHealthCheck(
            max_failures=2,
            base_ejection_ms=60_000,
            max_ejection_ms=600_000,
            max_ejection_percent=25,
            interval_ms=10_000,
        ),
    )
    assert read_upstream(b"", "Config") == UpstreamConfig()


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"protocol": "udp"}, "Config.Protocol"),
        ({"balance": "best"}, "Config.Balance"),
        ({"connect_timeout_ms": True}, "Config.ConnectTimeoutMs"),
        ({"connect_timeout_ms": "1s"}, "Config.ConnectTimeoutMs"),
        ({"limits": []}, "Config.Limits"),
        ({"limits": {"max_pending_requests": 10**9}}, "Config.Limits.MaxPendingRequests"),
        ({"passive_health_check": {"base_ejection_time": "soon"}}, "BaseEjectionTime"),
        ({"passive_health_check": {"base_ejection_time": float("inf")}}, "BaseEjectionTime"),
        ({"passive_health_check": {"max_ejection_percent": 101}}, "MaxEjectionPercent"),
    ],
)
def test_a_key_that_is_read_must_be_valid(config: object, names: str) -> None:
    with pytest.raises(InvalidCommand, match=names):
        read_upstream(json.dumps(config).encode(), "Config")
