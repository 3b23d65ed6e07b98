"""What is asked of requests that arrive, as it comes: checked into the snapshot, or the whole is refused."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from sidecar.admission import Abort, Delay, Distribution, EscapedSlashes, Underscored
from sidecar.errors import InvalidResource
from sidecar.policy.inbound import admission_of, provider_of, rules_of
from tests.support.tokens import jwks
from weft.pb.mesh.v1 import mesh_pb2 as pb

KEYS = {"name": "okta", "jwks": jwks("p256")}
ASKS = {"providers": [{"name": "okta", "claims": [{"path": ["a", "b"], "value": "c"}]}]}
FAULT = {"name": "f", "ppm": 10, "ends_unix_ms": 2000}


def _read(
    proxy: dict[str, Any] | None = None, intentions: dict[str, Any] | None = None, **provider: Any
) -> Any:
    said = ParseDict(intentions or {}, pb.Intentions())
    named = (
        {"okta": pb.Resource(jwt_provider=ParseDict({**KEYS, **provider}, pb.JwtProvider()))}
        if provider
        else {}
    )
    return admission_of(ParseDict(proxy or {}, pb.Proxy()), said, named, rules_of(said))


def test_what_is_said_is_what_is_asked() -> None:
    made = _read(
        {
            "rate_limits": [{"name": "r", "requests_per_second": 0.5}],
            "faults": [{**FAULT, "abort": {"grpc_status": 14},
                        "delay": {"distribution": "DISTRIBUTION_NORMAL", "mean_ms": 20, "deviation_ms": 5}}],
            "normalization": {"merge_slashes": True, "escaped_slashes": "ESCAPED_SLASHES_UNESCAPE",
                              "underscored_headers": "UNDERSCORED_HEADERS_DROP"},
        },
        {"jwt": ASKS},
        clock_skew_s=5,
    )  # fmt: skip
    (limit,), (fault,) = made.limits, made.faults
    assert (limit.per_second, limit.burst, limit.per_caller) == (0.5, 1.0, False)
    assert (fault.abort, fault.ends_s, fault.ppm) == (Abort(503, 14), 2.0, 10)
    assert fault.delay == Delay(Distribution.NORMAL, 0.0, 0.02, 0.005, 0.0, 60.0)
    assert (made.paths.merge_slashes, made.paths.disabled) == (True, False)
    assert (made.paths.escaped_slashes, made.paths.underscored) == (EscapedSlashes.UNESCAPE, Underscored.DROP)
    assert (made.jwt[0].provider, made.jwt[0].claims[0].path) == ("okta", ("a", "b"))
    assert made.providers["okta"].clock_skew_s == 5.0


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "is missing": ({}, {"jwt": {"providers": [{"name": "gone"}]}}),
    "a token of no provider": (
        {},
        {"rules": [{"id": "r", "source": "*", "source_trust_domain": "dc1.weft", "jwt": {}}]},
    ),
    "parts, not 1 to": ({}, {"jwt": {"providers": [{"name": "okta", "claims": [{"value": "x"}]}]}}),
    "requests_per_second": ({"rate_limits": [{"name": "r"}]}, {}),
    "requests_per_second nan": ({"rate_limits": [{"name": "r", "requests_per_second": "NaN"}]}, {}),
    "requests_per_second inf": ({"rate_limits": [{"name": "r", "requests_per_second": "Infinity"}]}, {}),
    "has no name": ({"rate_limits": [{"requests_per_second": 1}]}, {}),
    "when it ends": ({"faults": [{"name": "f"}]}, {}),
    "not both": ({"faults": [{**FAULT, "reset": True, "abort": {"http_status": 503}}]}, {}),
    "http_status 99": ({"faults": [{**FAULT, "abort": {"http_status": 99}}]}, {}),
    "grpc_status 17": ({"faults": [{**FAULT, "abort": {"grpc_status": 17}}]}, {}),
    "grpc_status 0": ({"faults": [{**FAULT, "abort": {}}]}, {}),
    "fixed_ms 60001": ({"faults": [{**FAULT, "delay": {"fixed_ms": 60_001}}]}, {}),
    "above most_ms": ({"faults": [{**FAULT, "delay": {"least_ms": 2, "most_ms": 1}}]}, {}),
    "unknown distribution": ({"faults": [{**FAULT, "delay": {"distribution": 9}}]}, {}),
    "ppm 1000001": ({"faults": [{**FAULT, "ppm": 1_000_001}]}, {}),
    "unknown normalization": ({"normalization": {"escaped_slashes": 9}}, {}),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_cannot_be_obeyed_refuses_the_whole(why: str) -> None:
    with pytest.raises(InvalidResource, match=why):
        _read(*WRONG[why])


PROVIDERS: dict[str, dict[str, Any]] = {
    "is of provider 'other'": {"name": "other"},
    "has no keys": {"jwks": ""},
    "key set": {"jwks": "{}"},
    "clock_skew_s": {"clock_skew_s": 86_401},
    "not for rules to change": {"forward_header": "host"},
    "lower-case name": {"locations": [{"header": {"name": "X-Token"}}]},
    "unknown kind of location": {"locations": [{}]},
    "the name ''": {"locations": [{"cookie": ""}]},
    "value prefix": {"locations": [{"header": {"name": "x-t", "value_prefix": "a\r\n"}}]},
}


@pytest.mark.parametrize("why", PROVIDERS)
def test_a_provider_that_cannot_be_used_refuses_the_whole(why: str) -> None:
    with pytest.raises(InvalidResource, match=why):
        provider_of("okta", ParseDict({**KEYS, **PROVIDERS[why]}, pb.JwtProvider()))
