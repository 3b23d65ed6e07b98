"""What a proxy takes and how it uses its application, as the registry says it."""

from typing import Any

import pytest

from sidecar.errors import InvalidResource
from sidecar.policy.local import APP_CHECKS_MAX, app_policy_of, connections_max_of, header_list_max_of
from sidecar.snapshot import AppPolicy
from sidecar.traffic import HealthCheck, ProbeKind
from weft.pb.mesh.v1 import mesh_pb2 as pb


def test_what_is_said_is_obeyed() -> None:
    proxy = pb.Proxy(
        max_inbound_connections=7,
        local_connect_timeout_ms=250,
        local_request_timeout_ms=1500,
        max_request_headers_kb=96,
        app_checks=[pb.HealthCheck(http_path="/health", interval_ms=2000), pb.HealthCheck(tcp=True)],
    )
    checks = (HealthCheck(ProbeKind.HTTP, "/health", 2.0), HealthCheck(ProbeKind.TCP))
    assert app_policy_of(proxy) == AppPolicy(0.25, 1.5, checks)
    assert (connections_max_of(proxy), header_list_max_of(proxy)) == (7, 96 * 1024)


def test_what_is_not_said_is_the_default() -> None:
    assert app_policy_of(pb.Proxy()) == AppPolicy(5.0, 0.0, ())
    assert (connections_max_of(pb.Proxy()), header_list_max_of(pb.Proxy())) == (0, 64 * 1024)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"local_connect_timeout_ms": 60_001}, "local_connect_timeout_ms 60001"),
        ({"max_inbound_connections": 1_000_001}, "max_inbound_connections"),
        ({"max_request_headers_kb": 1025}, "max_request_headers_kb 1025"),
        ({"app_checks": [pb.HealthCheck()]}, "does not say what to ask"),
        ({"app_checks": [pb.HealthCheck(tcp=True)] * (APP_CHECKS_MAX + 1)}, "checks of the application"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidResource, match=why):
        proxy = pb.Proxy(**said)
        app_policy_of(proxy)
        connections_max_of(proxy)
        header_list_max_of(proxy)
