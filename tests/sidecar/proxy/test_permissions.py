"""Permissions and tokens of intentions, on the real listener, and ways around them."""

from typing import Any

import pytest

from sidecar.admission import JwtProvider, PathPolicy, Underscored
from sidecar.h2.encoder import Encoder
from sidecar.h2.errors import ErrorCode
from sidecar.proxy.downstream import Downstream
from sidecar.traffic import HeaderMatch, HttpMatch, TextKind
from tests.support.scripted import get, grpc, silent
from tests.support.service import Service, allow, deny, prefix, rule
from tests.support.tokens import asks, provider, token
from tests.support.waiting import until
from tests.support.wire import HEAD_OK, Heard, Wire


def header(name: str, value: str) -> HttpMatch:
    return HttpMatch(headers=(HeaderMatch(name, TextKind.EXACT, value),))


def refused(heard: Heard) -> tuple[str, str]:
    head = heard.blocks[0]
    return head.get("grpc-status") or head[":status"], head.get("grpc-message") or head["x-weft-reason"]


# --- permissions -------------------------------------------------------------------------------------

ASKED = {
    "path": (prefix("/pub"), get("/pub/a"), get("/priv")),
    "method": (HttpMatch(methods=("PUT",)), (*get()[1:], (":method", "PUT"))[::-1], get()),
    "header": (header("x-v", "2"), get(x_v=2), get(x_v=1)),
    "no header": (HttpMatch(headers=(HeaderMatch("x-v", invert=True),)), get(), get(x_v=1)),
    "gRPC method": (HttpMatch(grpc_service="s", grpc_method="m"), grpc("/s/m"), grpc("/s/n")),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
async def test_a_permission_lets_through_what_matches_and_nothing_else(service: Service, case: str) -> None:
    match, inside, outside = ASKED[case]
    service.configure(rule(allow(match)))
    calls = await service.caller()
    for _ in range(2):  # the second time all is memoised
        assert (await calls.make(inside)).data == b""
        status, reason = refused(await calls.make(outside))
        assert (status, reason) == ("403", "denied") or (status == "7" and "no permission" in reason)
    assert len(service.app.seen) == 2


async def test_the_first_permission_decides_and_other_callers_have_rules_of_their_own(
    service: Service,
) -> None:
    service.configure(rule(deny(prefix("/admin")), allow(prefix("/"))), rule(source="*"))
    web, billing = await service.caller(), await service.caller("billing")
    assert await web.status(get("/a")) == "0"
    assert await web.status(grpc("/admin/x")) == "7"
    assert await billing.status(get("/admin/x")) == "0"


async def test_trap_11_a_memo_holds_every_header_that_a_permission_reads(service: Service) -> None:
    """A header that varies, and so stands beside the memoised head; open connections are read anew too."""
    calls = await service.caller()
    service.configure(rule())
    assert await calls.status(get(x_request_id="a")) == "0"
    service.configure(rule(allow(header("x-request-id", "b"))))
    for value in "abcabacbb":
        assert await calls.status(get(x_request_id=value)) == ("0" if value == "b" else "403")


async def test_trap_11_the_same_octets_from_another_caller(service: Service) -> None:
    service.configure(rule(allow(prefix("/a"))), rule(allow(prefix("/b")), source="billing"))
    web, billing = await service.caller(), await service.caller("billing")
    for _ in range(3):
        assert [await it.status(get("/a")) for it in (web, billing)] == ["0", "403"]


async def test_a_caller_that_no_rule_lets_in_stays_out(service: Service) -> None:
    service.configure(rule(allow(prefix("/"))))
    assert await (await service.caller("billing")).status(get("/")) == "403"
    assert not service.app.seen


# --- ways around -------------------------------------------------------------------------------------

AROUND = [
    "/admin/../admin/x", "/a/../admin/x", "/./admin/x", "/%61dmin/x", "/admi%6E/x", "/a/%2e%2e/admin/x",
    "/a/.%2E/admin/x", "//admin/x", "/a//../admin/x", "/a%2F..%2Fadmin/x", "/a%2f../admin/x",
    "/a/..%5cadmin/x", "/a\\..\\admin/x", "/a/..;/admin/x", "/a/..;x=1/admin/x", "/%2e/admin/x",
    "/a%00/../admin", "/%", "/%2561dmin/../admin/x", "/admin%2fx",
]  # fmt: skip


@pytest.mark.parametrize("path", AROUND)
async def test_trap_14_no_spelling_of_a_path_leads_around_a_rule(service: Service, path: str) -> None:
    """It is refused; nothing that an application could read as /admin arrives."""
    service.configure(rule(deny(prefix("/admin")), allow()))
    calls = await service.caller()
    assert await calls.status(get(path)) in ("400", "403")
    assert await calls.status(get("/open")) == "0"  # the connection goes on
    assert service.paths == ["/open"]


async def test_trap_14_the_path_that_was_authorised_goes_on(service: Service) -> None:
    service.configure(rule(allow(prefix("/pub/"))), paths=PathPolicy(merge_slashes=True))
    calls = await service.caller()
    for path in ("/pub/%61?x=%2e%2e//", "/priv/..//pub/./b", "/pub/caf%c3%a9"):
        assert await calls.status(get(path)) == "0"
    assert service.paths == ["/pub/a?x=%2e%2e//", "/pub/b", "/pub/caf%C3%A9"]
    assert await calls.status(get("/pub/../priv")) == "403"


async def test_paths_stay_as_they_are_where_that_is_said_or_no_rule_reads_them(service: Service) -> None:
    service.configure(rule())
    calls = await service.caller()
    assert await calls.status(get("/a%2Fb//c%")) == "0"
    service.configure(rule(allow(prefix("/"))), paths=PathPolicy(disabled=True))
    assert await calls.status(get("/a/../b%2f")) == "0"
    assert service.paths == ["/a%2Fb//c%", "/a/../b%2f"]


async def test_a_header_given_twice_is_one_list_and_case_is_no_way_around(service: Service) -> None:
    """RFC 9110 section 5.3: the rule reads "user, admin", which is neither."""
    service.configure(rule(allow(header("x-role", "user"))))
    calls = await service.caller()
    assert await calls.status((*get(x_role="user"), ("x-role", "admin"))) == "403"
    assert await calls.status((*get(x_role="admin"), ("x-role", "user"))) == "403"
    service.configure(rule(allow(HttpMatch(TextKind.PREFIX, "/a", methods=("GET",)))))
    assert await calls.status(get("/A")) == "403"
    assert await calls.status(((":method", "get"), *get("/a")[1:])) == "403"
    heard = await calls.make((*get("/a"), ("X-Role", "user")))
    assert heard.reset == ErrorCode.PROTOCOL_ERROR
    assert not service.app.seen


@pytest.mark.parametrize("beside", [False, True])
async def test_names_with_underscores_are_dropped_or_refused(service: Service, beside: bool) -> None:
    """Also where the field stands beside the head, as those that vary do."""
    service.configure(rule(), paths=PathPolicy(underscored=Underscored.DROP))
    calls = await service.caller()
    for number in range(4):
        odd = (("x_role", str(number if beside else 0)), ("x-request-id", str(number)))
        assert await calls.status((*get(), *odd)) == "0"
    assert all("x_role" not in head and "x-request-id" in head for head in service.app.heads)
    service.configure(rule(), paths=PathPolicy(underscored=Underscored.REJECT))
    for number in range(4):
        odd = (("x-request-id", str(number)), ("x_role", str(number if beside else 0)))
        assert refused(await calls.make((*get(), *odd))) == ("400", "ambiguous")
        assert await calls.status(get()) == "0"


# --- changes -----------------------------------------------------------------------------------------


async def test_trap_18_open_streams_are_judged_again_each_by_itself(service: Service) -> None:
    """One that the new rules refuse ends; the others and the connection stay."""
    service.app.answer = silent
    service.configure(rule(allow(prefix("/"))))
    calls = await service.caller()
    bad, good = calls.begin(grpc("/bad/m")), calls.begin(grpc("/good/m"))
    varied = calls.begin(grpc("/good/n", x_request_id="no"))
    await until(lambda: len(service.app.seen) == 3, "all arrive")
    service.configure(rule(deny(prefix("/bad")), deny(header("x-request-id", "no")), allow(prefix("/good"))))
    for sid in (bad, varied):
        assert (await calls.wire.over(sid)).blocks[0]["grpc-status"] == "7"
    behind = service.app.wires[0]
    behind.headers(_sid_of(behind, "/good/m"), (*HEAD_OK, ("grpc-status", "0")), end=True)
    assert (await calls.wire.over(good)).blocks[0]["grpc-status"] == "0"
    assert not calls.wire.goaways
    service.configure(rule(deny(prefix("/"))))
    await until(lambda: calls.wire.closed, "who may call nothing any more has to go")


def _sid_of(wire: Wire, path: str) -> int:
    return next(
        sid for sid, heard in wire.streams.items() if heard.blocks and heard.blocks[0].get(":path") == path
    )


# --- tokens ------------------------------------------------------------------------------------------


def bearer(said: str, **fields: Any) -> tuple[tuple[str, str], ...]:
    return (*get(**fields), ("authorization", f"Bearer {said}"))


def _providers(**settings: Any) -> dict[str, JwtProvider]:
    return {"okta": provider(**settings)}


async def test_a_request_without_the_token_that_is_asked_for_is_unauthenticated(service: Service) -> None:
    service.configure(rule(jwt=asks("okta", claims=[("role", "admin")])), providers=_providers())
    calls = await service.caller()
    heard = await calls.make(get())
    assert refused(heard) == ("401", "unauthenticated")
    assert heard.blocks[0]["www-authenticate"] == "Bearer"
    status, message = refused(await calls.make(grpc()))
    assert status == "16" and "there is no token of okta" in message
    for said in (token(by="other"), token({"role": "user"}), "x"):
        assert await calls.status(bearer(said)) == "401"
    assert not service.app.seen
    assert await calls.status(bearer(token({"role": "admin"}))) == "0"


async def test_a_token_asked_of_all_holds_under_default_allow_and_for_every_rule(service: Service) -> None:
    service.configure(rule(source="shop"), default_allow=True, jwt=asks("okta"), providers=_providers())
    for name in ("web", "shop"):
        calls = await service.caller(name)
        assert await calls.status(get()) == "401"
        assert await calls.status(bearer(token())) == "0"


async def test_a_token_is_checked_and_goes_no_further_but_what_it_says_does(service: Service) -> None:
    """What a caller says in the header of the claims is nothing, whoever it is and whatever it is asked."""
    service.configure(
        rule(jwt=asks("okta")), rule(source="*"), providers=_providers(forward_header="x-claims")
    )
    web, billing = await service.caller(), await service.caller("billing")
    said = token()
    for number in range(3):
        assert await web.status(bearer(said, x_claims="forged", x_request_id=number)) == "0"
        assert await billing.status(bearer(said, x_claims="forged")) == "0"
    for at, head in enumerate(service.app.heads):
        assert head.get("x-claims") == (None if at % 2 else said.split(".")[1])
        assert ("authorization" in head) is bool(at % 2)  # of billing none was asked


async def test_trap_11_time_is_judged_per_request(service: Service) -> None:
    """The same octets on the same connection: too early, in time, too late."""
    now = service.mesh.clock.wall()
    said = bearer(token({"nbf": now + 1000, "exp": now + 2000}))
    service.configure(rule(jwt=asks("okta")), providers=_providers())
    calls = await service.caller()
    for ahead_s, status in ((0, "401"), (1100, "0"), (1200, "0"), (2100, "401"), (1100, "0")):
        service.mesh.clock.ahead_s = ahead_s
        assert [await calls.status(said) for _ in range(2)] == [status] * 2


async def test_a_token_decides_which_permission_matches(service: Service) -> None:
    admin = asks("okta", claims=[("role", "admin")])
    service.configure(rule(allow(prefix("/pub")), allow(prefix("/"), jwt=admin)), providers=_providers())
    calls = await service.caller()
    assert await calls.status(get("/pub")) == "0"
    assert await calls.status(get("/adm")) == "401"
    fields = (*get("/adm"), ("authorization", f"Bearer {token({'role': 'admin'})}"))
    assert await calls.status(fields) == "0"
    assert await calls.status(get("/adm")) == "401"


async def test_another_key_set_is_believed_at_once(service: Service) -> None:
    said = bearer(token())
    calls = await service.caller()
    for keys, status in ((_providers(), "0"), (_providers(issuer="new"), "401"), (_providers(), "0")):
        service.configure(rule(jwt=asks("okta")), providers=keys)
        assert await calls.status(said) == status


async def test_trap_11_rules_that_come_during_a_handshake_find_what_they_read(service: Service) -> None:
    """The connection was accepted under rules that read nothing; its header stands beside the head there."""
    service.engine.inbound.read(frozenset())
    conn = service.engine.inbound.accept()
    service.configure(rule(deny(header("x-request-id", "b")), allow()))
    assert isinstance(conn, Downstream)
    service.engine.inbound.recognise = lambda conn: True  # type: ignore[method-assign]
    assert service.engine.inbound.admit(conn)
    octets = Encoder().encode(tuple((name.encode(), value.encode()) for name, value in get(x_request_id="b")))
    block = conn.decoder.decode(octets)
    assert block.head.value(b"x-request-id") == b"b"
    service.engine.inbound.connections.clear()


async def test_an_open_stream_outlives_its_token_but_not_its_provider(service: Service) -> None:
    service.app.answer = silent
    now = service.mesh.clock.wall()
    service.configure(rule(jwt=asks("okta")), providers=_providers())
    calls = await service.caller()
    sid = calls.begin(bearer(token({"exp": now + 5})))
    await until(lambda: service.app.seen, "it arrives")
    service.mesh.clock.ahead_s = 100

    def began_long_ago() -> None:
        (conn,) = service.engine.inbound.connections
        for stream in conn.streams.values():
            stream.started -= 100  # type: ignore[attr-defined]

    began_long_ago()
    service.configure(rule(jwt=asks("okta")), rule(source="x"), providers=_providers())
    await calls.wire.pinged()
    assert not calls.wire.heard(sid).blocks
    service.configure(rule(jwt=asks("okta")), providers=_providers(issuer="new"))
    assert refused(await calls.wire.over(sid)) == ("401", "unauthenticated")
