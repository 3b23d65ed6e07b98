"""registry.catalog.access: how tokens, policies and what belongs to them change in the log."""

from dataclasses import replace
from typing import Any

import pytest

from registry.acl.model import (
    ANONYMOUS_ACCESSOR,
    AuthMethod,
    BindingRule,
    Grants,
    Policy,
    Role,
    SealedSecret,
    ServiceIdentity,
    Token,
)
from registry.acl.templates import GLOBAL_MANAGEMENT_ID
from registry.catalog import acl_commands, commands, watches
from registry.catalog.acl_commands import Mode
from registry.errors import Conflict, InvalidCommand, NotFound
from tests.support.catalog import World, stamp

P1, P2, R1, B1 = (f"{n}0000000-0000-4000-8000-000000000000" for n in "1234")
DAY_MS = 24 * 60 * 60 * 1000


def accessor(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012d}"


def token(n: int = 1, **fields: Any) -> Token:
    return Token(accessor(n), SealedSecret(bytes([n]) * 32, "key", b"n" * 12, b"sealed"), **fields)


def put(world: World, *rows: Any, mode: Mode = Mode.ANY, time_ms: int = 1_000) -> None:
    world.do(acl_commands.set_acl(stamp(time_ms), rows, mode))


def test_rows_of_all_kinds_come_in_one_command_and_move_the_index() -> None:
    world = World.set_up()
    before = world.state.index_of(watches.ACL)
    put(
        world,
        token(grants=Grants((P1,), (R1,))),
        Role(R1, "r", grants=Grants((P1,))),
        Policy(P1, "p", rules='operator = "read"'),
        BindingRule(B1, "m", "service", "${value.name}"),
        AuthMethod("m", "jwt"),
    )
    tables = world.state.acl
    assert world.state.index_of(watches.ACL) > before
    assert tables.policy_named("p") == tables.policy(P1)
    assert tables.role_named("r") == tables.role(R1)
    found = tables.token(accessor(1))
    assert found is not None
    assert found.created_ms == 1_000
    assert found.indexes.create == found.indexes.modify == world.state.index
    assert tables.tokens_by_code.get((b"\1" * 32,)) is found


def test_a_change_keeps_what_cannot_change() -> None:
    world = World.set_up()
    put(world, token(description="old"))
    first = world.state.acl.token(accessor(1))
    assert first is not None
    put(world, token(description="new"), mode=Mode.UPDATE, time_ms=9_000)
    found = world.state.acl.token(accessor(1))
    assert found is not None
    assert (found.description, found.created_ms) == ("new", 1_000)
    assert found.indexes.create == first.indexes.create < found.indexes.modify
    other = replace(token(), secret=SealedSecret(b"x" * 32, "key", b"n" * 12, b"sealed"))
    for row, says in (
        (other, "SecretID: cannot be changed"),
        (token(local=True), "Local: cannot be changed"),
        (token(expires_ms=DAY_MS), "ExpirationTime: cannot be changed"),
    ):
        with pytest.raises(InvalidCommand, match=says):
            put(world, row)


def test_create_and_update_are_told_apart() -> None:
    world = World.set_up()
    put(world, Policy(P1, "p"), mode=Mode.CREATE)
    with pytest.raises(Conflict, match="already exists"):
        put(world, Policy(P1, "p"), mode=Mode.CREATE)
    with pytest.raises(NotFound, match="does not exist"):
        put(world, Policy(P2, "q"), mode=Mode.UPDATE)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (token(grants=Grants((B1,))), "cannot find policy"),
        (token(grants=Grants(roles=(R1,))), "cannot find role"),
        (token(grants=Grants(service_identities=(ServiceIdentity("No"),))), "ServiceIdentities.ServiceName"),
        (token(description="x" * 513), "Description"),
        (token(auth_method="gone"), "AuthMethod"),
        (token(3, expires_ms=30_000), "ExpirationTime: use 1m to 24h"),
        (token(3, expires_ms=3 * DAY_MS), "ExpirationTime: use 1m to 24h"),
        (replace(token(2), secret=token(1).secret), "another token has this secret"),
        (replace(token(2), secret=SealedSecret()), "SecretID: is missing"),
        (Policy(P2, "p1"), 'A policy with name "p1" already exists'),
        (Policy(P2, "global-management"), "already exists"),
        (Policy(GLOBAL_MANAGEMENT_ID, "x"), "built-in policies cannot be changed"),
        (Policy(P2, "no name"), "Policy name"),
        (Policy(P2, "p2", rules="nothing"), "Rules"),
        (Policy(P2, "p2", datacenters=("a b",)), "Datacenters"),
        (Policy("p2", "p2"), "ID"),
        (Role(R1, "r", grants=Grants(roles=(R1,))), "a role has no roles"),
        (Role(R1, "r", grants=Grants((B1,))), "cannot find policy"),
        (AuthMethod("m", "oidc"), "Type: 'oidc' is not supported"),
        (AuthMethod("m", "jwt", max_token_ttl_ms=1), "MaxTokenTTL"),
        (AuthMethod("m", "jwt", token_locality="global"), "TokenLocality"),
        (BindingRule(B1, "gone", "service", "x"), "AuthMethod"),
    ],
)
def test_what_is_wrong_changes_nothing(row: Any, says: str) -> None:
    world = World.set_up()
    put(world, token(1), Policy(P1, "p1"))
    before = world.state.acl
    with pytest.raises(InvalidCommand, match=says):
        put(world, Policy(P2, "another"), row) if not isinstance(row, Policy) else put(world, row)
    assert world.state.acl is before


def test_a_policy_that_is_deleted_leaves_its_tokens_without_it() -> None:
    world = World.set_up()
    put(world, Policy(P1, "p"), token(grants=Grants((P1,))))
    assert world.attempt(acl_commands.delete_acl(stamp(), policy=P1)).answer.value == "deleted"
    assert world.attempt(acl_commands.delete_acl(stamp(), policy=P1)).answer.value == ""
    assert world.state.acl.policy_named("p") is None
    assert world.state.acl.token(accessor(1)) is not None


def test_a_method_takes_its_rules_and_tokens_along() -> None:
    world = World.set_up()
    put(world, AuthMethod("m", "jwt"), AuthMethod("n", "jwt"))
    put(world, BindingRule(B1, "m", "service", "x"), token(1, auth_method="m"), token(2, auth_method="n"))
    world.do(acl_commands.delete_acl(stamp(), auth_method="m"))
    tables = world.state.acl
    assert not tables.binding_rules
    assert [row.accessor_id for row in tables.tokens.values()] == [accessor(2)]
    assert len(tables.tokens_by_code) == 1


def test_the_built_in_stays() -> None:
    world = World.set_up()
    for row in ({"policy": GLOBAL_MANAGEMENT_ID}, {"token": ANONYMOUS_ACCESSOR}):
        with pytest.raises(InvalidCommand, match="not permitted"):
            world.do(acl_commands.delete_acl(stamp(), **row))


def test_the_anonymous_token_may_be_given_policies() -> None:
    world = World.set_up()
    put(world, Policy(P1, "p"), Token(ANONYMOUS_ACCESSOR, grants=Grants((P1,))))
    found = world.state.acl.token(ANONYMOUS_ACCESSOR)
    assert found is not None
    assert found.grants.policies == (P1,)


def test_there_is_one_bootstrap_unless_the_operator_resets_it() -> None:
    world = World.set_up()
    grants = Grants((GLOBAL_MANAGEMENT_ID,))
    with pytest.raises(InvalidCommand, match="must be a management token"):
        world.do(acl_commands.bootstrap_acl(stamp(), token(1)))
    world.do(acl_commands.bootstrap_acl(stamp(), token(1, grants=grants)))
    done_at = world.state.acl.bootstrap_index
    assert done_at == world.state.index
    for reset in (0, done_at - 1, done_at + 1):
        with pytest.raises(Conflict, match=rf"ACL bootstrap no longer allowed \(reset index: {done_at}\)"):
            world.do(acl_commands.bootstrap_acl(stamp(), token(2, grants=grants), reset))
    world.do(acl_commands.bootstrap_acl(stamp(), token(2, grants=grants), done_at))
    assert world.state.acl.bootstrap_index > done_at


def test_expired_tokens_go_and_others_stay() -> None:
    world = World.set_up()
    put(world, token(1, expires_ms=100_000), token(2, expires_ms=200_000), token(3))
    world.do(commands.expire(stamp(150_000)))
    assert [row.accessor_id for row in world.state.acl.tokens.values()] == [accessor(2), accessor(3)]
    assert len(world.state.acl.tokens_by_expiry) == 1
    assert len(world.state.acl.tokens_by_code) == 2
