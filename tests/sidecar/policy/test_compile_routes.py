"""Routes and targets as the registry sends them become the snapshot's, or are refused by name."""

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.errors import InvalidResource
from sidecar.policy.compile import compile_snapshot
from sidecar.traffic import (
    HashInput,
    HashKind,
    HeaderEdits,
    HeaderMatch,
    HealthCheck,
    HttpMatch,
    Locality,
    Mirror,
    ProbeKind,
    QueryMatch,
    RetryOn,
    RetryPolicy,
    Split,
    TextKind,
)
from tests.support import resources as make
from weft.pb.mesh.v1 import mesh_pb2 as pb

ORDERS, STOCK = make.target_id("orders"), make.target_id("stock")
EDITS = HeaderEdits((("x-a", "1"),), (("x-b", "2"),), ("x-c",))


def test_all_that_a_route_says_is_taken() -> None:
    snapshot = compile_snapshot(make.full_resources(), 1)
    full, last = snapshot.upstreams["orders"].routes
    assert full.match == HttpMatch(
        TextKind.PREFIX, "/api", False,
        (HeaderMatch("x-v", TextKind.EXACT, "2"), HeaderMatch("x-w", TextKind.REGEX, "a+", invert=True)),
        (QueryMatch("q"),), ("GET",),
    )  # fmt: skip
    assert full.splits == (Split(9_000, ORDERS, EDITS), Split(1_000, ORDERS, response_headers=EDITS))
    assert full.sticky == (HashInput(HashKind.HEADER, "x-user", terminal=True),)
    assert (full.prefix_rewrite, full.request_headers, full.response_headers) == ("/", EDITS, EDITS)
    assert (full.timeout_s, full.idle_s, full.mirrors) == (1.5, 2.5, (Mirror(ORDERS, 1000),))
    words = frozenset((RetryOn.UNAVAILABLE, RetryOn.SERVER_ERROR))
    assert full.retry == RetryPolicy(3, words, frozenset((429,)), 0.25, 0.01, 0.1, 10, 2, 1000)
    assert (last.name, last.match, last.retry) == ("default", None, None)
    assert snapshot.locality == Locality("eu", "a")


def test_all_that_a_target_says_is_taken() -> None:
    target = compile_snapshot(make.full_resources(), 1).targets[ORDERS]
    assert target.hash == (
        HashInput(HashKind.COOKIE, "side", cookie_generate=True, cookie_ttl_s=60, cookie_path="/"),
        HashInput(HashKind.SOURCE),
    )
    assert (target.ring_size_min, target.ring_size_max, target.choice_count) == (2048, 4096, 3)
    assert (target.ejection.interval_s, target.ejection.failure_percent) == (1.0, 50)
    assert target.ejection.success_rate_stdevs == 1.9
    assert (target.connections_max, target.requests_max, target.pending_max) == (4, 100, 1024)
    assert target.failover == (STOCK,)  # not itself
    assert (target.by_locality, target.slow_start_s, target.panic_percent) == (True, 30.0, 30)
    assert target.health_check == HealthCheck(ProbeKind.HTTP, "/health", 2.0)


def test_a_retry_policy_without_a_budget_gets_the_default_one() -> None:
    resources = make.full_resources()
    retry = resources["upstream/orders"].upstream.routes[0].retry
    retry.Clear()
    retry.on.append("reset")
    found = compile_snapshot(resources, 1).upstreams["orders"].routes[0].retry
    assert found == RetryPolicy(on=frozenset((RetryOn.RESET,)))
    retry.budget_min = 7
    found = compile_snapshot(resources, 1).upstreams["orders"].routes[0].retry
    assert found is not None and (found.budget_percent, found.budget_min) == (0, 7)


def _route(change: Callable[[Any], object]) -> Callable[[dict[str, pb.Resource]], None]:
    return lambda resources: (change(resources["upstream/orders"].upstream.routes[0]), None)[1]


def _target(change: Callable[[Any], object]) -> Callable[[dict[str, pb.Resource]], None]:
    return lambda resources: (change(resources[f"target/{ORDERS}"].target), None)[1]


def _put(what: str, value: object) -> Callable[[Any], None]:
    """Sets a field by its path."""

    def change(message: Any) -> None:
        *way, last = what.split(".")
        for step in way:
            message = message[int(step)] if step.isdigit() else getattr(message, step)
        setattr(message, last, value)

    return change


REFUSED = {
    "weights": (_route(_put("splits.0.weight", 1)), "weights sum to 1001, not to 10000"),
    "no splits": (_route(lambda it: it.ClearField("splits")), "weights sum to 0"),
    "unknown target": (_route(_put("splits.0.target", "x")), "'target/x' is missing"),
    "unknown mirror": (_route(_put("mirrors.0.target", "x")), "'target/x' is missing"),
    "mirrored too often": (_route(_put("mirrors.0.ppm", 1_000_001)), "ppm of a mirror 1000001"),
    "bad pattern": (_route(_put("match.path_regex", "(")), "is not a regular expression"),
    "bad header pattern": (_route(_put("match.headers.0.regex", "[")), "is not a regular expression"),
    "header in capitals": (_route(_put("match.headers.0.name", "X-V")), "lower-case name of a header"),
    "pseudo-header": (_route(_put("match.headers.0.name", ":path")), "lower-case name of a header"),
    "header without kind": (_route(lambda it: it.match.headers.add(name="x")), "must be like"),
    "absent by present": (_route(_put("match.headers.0.present", False)), "use invert"),
    "bad method": (_route(lambda it: it.match.methods.append("G T")), "a method that is no token"),
    "set host": (_route(lambda it: it.request_headers.set.update(host="x")), "'host' is not for rules"),
    "remove te": (_route(lambda it: it.request_headers.remove.append("te")), "'te' is not for rules"),
    "value with a line end": (
        _route(lambda it: it.request_headers.set.update({"x-a": "1\r\nx: y"})),
        "cannot be sent",
    ),
    "rewrite": (_route(_put("prefix_rewrite", "x")), "does not begin with '/'"),
    "rewrite with a blank": (_route(_put("prefix_rewrite", "/a b")), "no path may have"),
    "retry word": (_route(lambda it: it.retry.on.append("always")), "'always' is unknown"),
    "retry status": (_route(lambda it: it.retry.on_status_codes.append(99)), "no HTTP status"),
    "attempts": (_route(_put("retry.attempts_max", 101)), "attempts_max 101"),
    "body": (_route(_put("retry.body_bytes_max", 2**21)), "body_bytes_max 2097152"),
    "sticky on nothing": (_route(lambda it: it.sticky.inputs.add()), "names nothing"),
    "long time-out": (_route(_put("request_timeout_ms", 2**31)), "request_timeout_ms"),
    "route of a long name": (_route(_put("name", "x" * 257)), "a name over 256"),
    "target of another id": (_target(_put("id", "x")), "is of target 'x'"),
    "ring": (_target(_put("ring_size_min", 5000)), "is over ring_size_max"),
    "unknown fail-over": (_target(lambda it: it.failover.append("x")), "'target/x' is missing"),
    "cookie name": (_target(_put("hash.inputs.0.cookie", "a b")), "the name of a cookie"),
    "cookie path": (_target(_put("hash.inputs.0.cookie_path", "/;x")), "no cookie's path"),
    "panic": (_target(_put("panic_percent", 101)), "panic_percent 101"),
    "health path": (_target(_put("health_check.http_path", "health")), "is not an absolute path"),
    "health of nothing": (_target(lambda it: it.health_check.ClearField("http_path")), "what to ask"),
    "no target at all": (lambda found: found.pop(f"target/{STOCK}"), f"'target/{STOCK}' is missing"),
    "no routes": (lambda found: found["upstream/orders"].upstream.ClearField("routes"), "has no routes"),
    "protocol": (lambda found: _put("upstream.protocol", 9)(found["upstream/orders"]), "protocol 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_obeyed_is_refused(case: str) -> None:
    change, message = REFUSED[case]
    resources = make.full_resources()
    change(resources)
    with pytest.raises(InvalidResource, match="resource ") as refused:
        compile_snapshot(resources, 1)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
