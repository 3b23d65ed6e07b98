"""Permissions and tokens of a rule, against a plain reading of what Consul says of them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sidecar.admission import Permission, Requirement
from sidecar.h2.block import Head
from sidecar.policy.gate import Gate, reads_path
from sidecar.traffic import HeaderMatch, HttpMatch, TextKind
from tests.sidecar.policy.test_tokens import NOW, head
from tests.support.tokens import asks, provider, token, verifier_of

VERIFIERS = {name: verifier_of(provider(name, issuer=name)) for name in ("a", "b")}
TOKENS = {
    "": "",
    "a": token({"iss": "a", "exp": NOW + 100, "role": "admin"}),
    "b": token({"iss": "b", "nbf": NOW - 50}),
}


def gate(*permissions: Permission, allow: bool = False, jwt: Requirement = ()) -> Gate:
    return Gate("intention x", allow, permissions, (jwt,), VERIFIERS)


def asked(path: str = "/", bearer: str = "", **fields: str) -> Head:
    more = [(name.replace("_", "-"), value) for name, value in fields.items()]
    if bearer:
        more.append(("authorization", f"Bearer {TOKENS[bearer]}"))
    return head(*more, path=path)


def test_the_first_permission_that_matches_decides_and_none_denies() -> None:
    it = gate(
        Permission(False, HttpMatch(TextKind.PREFIX, "/admin")),
        Permission(True, HttpMatch(TextKind.PREFIX, "/", methods=("GET",))),
    )
    assert it.judge(asked("/a"), "web", NOW).allowed
    denied = it.judge(asked("/admin/x"), "web", NOW)
    assert (denied.allowed, denied.reason) == (False, "permission 0 of intention x denies")
    none = gate(Permission(True, HttpMatch(TextKind.EXACT, "/b"))).judge(asked("/a"), "web", NOW)
    assert (none.allowed, none.unproven) == (False, False)
    assert none.reason == "no permission of intention x matches"
    assert none.lasts


def test_what_a_gate_reads_is_what_a_memo_must_hold() -> None:
    it = gate(
        Permission(True, HttpMatch(headers=(HeaderMatch("x-a"), HeaderMatch("x-b", invert=True)))),
        Permission(True, None, asks("a")),
    )
    assert it.reads == {b"x-a", b"x-b", b"authorization"}
    assert not it.strict and gate(Permission(True, HttpMatch(grpc_service="s", grpc_method=""))).strict
    assert reads_path(HttpMatch(TextKind.EXACT, "/")) and not reads_path(None)


def test_a_caller_that_no_permission_lets_through_may_call_nothing() -> None:
    assert not gate(Permission(False)).passable
    assert gate(Permission(False), Permission(True)).passable


def test_a_token_that_would_help_is_asked_for() -> None:
    it = gate(Permission(True, None, asks("a", claims=[("role", "admin")])), jwt=())
    assert it.judge(asked(bearer="a"), "web", NOW).allowed
    refused = it.judge(asked(), "web", NOW)
    assert (refused.allowed, refused.unproven) == (False, True)
    assert refused.reason == "intention x: there is no token of a"
    lacking = gate(Permission(True, None, asks("a", claims=[("role", "root")]))).judge(
        asked(bearer="a"), "web", NOW
    )
    assert lacking.reason.endswith("the token of a lacks a claim")


def test_a_judgement_says_how_long_it_stands() -> None:
    it = gate(allow=True, jwt=asks("a", "b"))
    fine = it.judge(asked(bearer="a"), "web", NOW)
    assert (fine.since, fine.until) == (-math.inf, NOW + 130)
    assert fine.stands(NOW) and not fine.stands(NOW + 130)
    late = it.judge(asked(bearer="a"), "web", NOW + 130)
    assert not late.allowed and (late.since, late.until) == (NOW + 130, math.inf)
    early = it.judge(asked(bearer="b"), "web", NOW - 200)
    assert not early.allowed and early.until == NOW - 80


requirements = st.sampled_from(
    [
        (),
        asks("a"),
        asks("b"),
        asks("a", "b"),
        asks("a", claims=[("role", "admin")]),
        asks("a", claims=[("role", "x")]),
    ]
)
prefixes = st.sampled_from(["/", "/a", "/a/b"])
sources = st.sampled_from([(), ("web",)])
matches = st.builds(HttpMatch, st.just(TextKind.PREFIX), prefixes, sources=sources)
permissions = st.builds(Permission, st.booleans(), st.none() | matches, requirements)


def _holds(requirement: Requirement, bearer: str, now: float) -> bool:
    if not requirement:
        return True
    valid = (bearer == "a" and now < NOW + 130) or (bearer == "b" and now >= NOW - 80)
    claims = [it.claims for it in requirement if it.provider == bearer]
    return valid and any(not it or it[0].value == "admin" for it in claims)


@given(
    st.lists(permissions, max_size=4), st.booleans(), requirements,
    st.sampled_from(["/", "/a", "/a/b/c", "/x"]),
    st.sampled_from(["", "a", "b"]), st.sampled_from(["web", "shop"]), st.integers(-300, 300),
)  # fmt: skip
def test_it_decides_as_a_plain_reading_does(
    said: list[Permission], allow: bool, jwt: Requirement, path: str, bearer: str, source: str, at: int
) -> None:
    now = NOW + at
    expected = allow
    if said:
        decisive = [
            it.allow
            for it in said
            if (
                it.match is None
                or (path.startswith(it.match.path) and source in (it.match.sources or (source,)))
            )
            and _holds(it.jwt, bearer, now)
        ]
        expected = decisive[0] if decisive else False
    expected = expected and _holds(jwt, bearer, now)
    it = gate(*said, allow=allow, jwt=jwt)
    judged = it.judge(asked(path, bearer), source, now)
    assert judged.allowed is expected
    assert judged.stands(now)
    for other in (
        judged.since,
        judged.until - 1,
        (max(judged.since, NOW - 999) + min(judged.until, NOW + 999)) / 2,
    ):
        if math.isfinite(other) and judged.stands(other):
            again = it.judge(asked(path, bearer), source, other)
            assert (again.allowed, again.reason) == (judged.allowed, judged.reason)
