"""Join tokens and members: one use, one node, one key; and what the end of a membership takes along."""

from typing import Any

import pytest

from registry.acl.model import Grants, NodeIdentity, SealedSecret, Token
from registry.catalog import commands, enrolment, liveness, watches
from registry.catalog.apply import raise_refusal
from registry.catalog.enrolment_model import JoinToken, agent_leaf_key
from registry.catalog.expiry import due
from registry.catalog.feature_level import ID_META, SERVER_SERVICE
from registry.catalog.model import NODE_ALIVE_ID, Service
from registry.catalog.snapshot import decode, encode
from registry.errors import Conflict, CredentialRefused, InvalidCommand
from tests.support.acl import acl_id
from tests.support.catalog import World, digest, node, root, stamp
from weft.pb.catalog.v1.enrolment_pb2 import AgentLeaf

ID, CODE = "0123456789abcdef", b"c" * 32
KEY, OTHER_KEY = digest("key"), digest("other key")
HOUR_MS = 3_600_000


@pytest.fixture
def world() -> World:
    world = World.set_up()
    world.do(enrolment.create_join_token(stamp(), token()))
    return world


def token(**fields: Any) -> JoinToken:
    return JoinToken(**{"id": ID, "secret_code": CODE, "node": "vm-1", "expires_ms": HOUR_MS, **fields})


def leaf(serial: int = 7, not_after_ms: int = 100_000, epoch: int = 0) -> AgentLeaf:
    return AgentLeaf(
        serial=serial.to_bytes(4, "big").lstrip(b"\0"), not_after_ms=not_after_ms, roots_epoch=epoch
    )


def acl_token(n: int = 1, name: str = "vm-1") -> Token:
    sealed = SealedSecret(n.to_bytes(32, "big"), "key", b"n" * 12, b"sealed")
    return Token(acl_id(n), sealed, grants=Grants(node_identities=(NodeIdentity(name, "dc1"),)))


def redeem(world: World, **given: Any) -> str:
    """The value of a redemption that must succeed."""
    fields = {"node": "vm-1", "key_digest": KEY, "leaf": leaf(), "acl_token": None, **given}
    token_id, code = fields.pop("token_id", ID), fields.pop("code", CODE)
    done = world.attempt(
        enrolment.redeem_join_token(stamp(fields.pop("time_ms", 1_000)), token_id, code, **fields)
    )
    raise_refusal(done.answer)
    return done.answer.value


def serials(world: World, name: str = "vm-1") -> list[int]:
    return [row.serial for row in world.state.leaves_of(agent_leaf_key(name))]


def test_a_token_makes_its_node_a_member_once(world: World) -> None:
    assert redeem(world, acl_token=acl_token()) == enrolment.JOINED
    member = world.state.members.get(("vm-1",))
    assert member is not None
    assert (member.join_token, member.accessor_id) == (ID, acl_id(1))
    assert world.state.acl.token(acl_id(1)) is not None
    assert serials(world) == [7]
    assert world.state.agent_leaf("vm-1", 7, 1_000) is not None
    with pytest.raises(CredentialRefused, match="used already"):
        redeem(world, key_digest=OTHER_KEY)


def test_trap_1_the_same_key_may_ask_again_and_no_other(world: World) -> None:
    redeem(world, acl_token=acl_token())
    assert redeem(world, leaf=leaf(8), acl_token=acl_token(2)) == enrolment.AGAIN
    assert serials(world) == [7, 8]
    assert world.state.acl.token(acl_id(2)) is None  # the first answer's token is the one in force
    for given in ({"key_digest": OTHER_KEY}, {"code": b"x" * 32}, {"node": "vm-2"}):
        with pytest.raises(CredentialRefused):
            redeem(world, **given)


def test_trap_1_a_token_lets_in_nobody_but_its_node(world: World) -> None:
    refused: list[dict[str, Any]] = [
        {"node": "vm-2"},
        {"node": "vm-10"},
        {"token_id": "ffffffffffffffff"},
        {"code": b"x" * 32},
        {"time_ms": HOUR_MS},
    ]
    for given in refused:
        with pytest.raises(CredentialRefused):
            redeem(world, **given)
    assert len(world.state.members) == 0


def test_trap_1_a_stranger_is_not_told_whether_a_token_exists(world: World) -> None:
    said = set()
    for given in ({"token_id": "ffffffffffffffff"}, {"code": b"x" * 32}):
        with pytest.raises(CredentialRefused) as refusal:
            redeem(world, **given)
        said.add(str(refusal.value))
    assert len(said) == 1


def test_a_prefix_takes_one_new_name_and_no_name_that_is_taken() -> None:
    world = World.set_up()
    for number in range(3):
        row = token(id=f"{number:016x}", node="web-", prefix=True)
        world.do(enrolment.create_join_token(stamp(), row))
    assert redeem(world, token_id=f"{0:016x}", node="web-1") == enrolment.JOINED
    with pytest.raises(Conflict, match="has joined already"):
        redeem(world, token_id=f"{1:016x}", node="web-1", key_digest=OTHER_KEY)
    with pytest.raises(CredentialRefused):
        redeem(world, token_id=f"{1:016x}", node="db-1")
    assert redeem(world, token_id=f"{1:016x}", node="web-2") == enrolment.JOINED


def test_trap_3_no_agent_becomes_a_server_node(world: World) -> None:
    row = Service("vm-1", SERVER_SERVICE, SERVER_SERVICE, "dc1", meta={ID_META: "s1"})
    world.register(row, on="vm-1")
    with pytest.raises(CredentialRefused, match="registry server"):
        redeem(world)


def test_joining_anew_ends_what_the_name_had_before(world: World) -> None:
    redeem(world, acl_token=acl_token())
    world.do(enrolment.create_join_token(stamp(), token(id="f" * 16)))
    assert redeem(world, token_id="f" * 16, key_digest=OTHER_KEY, leaf=leaf(9), acl_token=acl_token(2))
    assert serials(world) == [9]
    assert world.state.acl.token(acl_id(1)) is None
    assert world.state.acl.token(acl_id(2)) is not None
    with pytest.raises(CredentialRefused):
        redeem(world)  # the first token's key is no member's any more


def test_trap_25_a_leaf_of_other_roots_redeems_nothing(world: World) -> None:
    world.do(commands.set_roots(stamp(), [root("r1")], 0))
    with pytest.raises(Conflict, match="roots have changed"):
        redeem(world, leaf=leaf(epoch=2))
    assert len(world.state.members) == 0
    assert redeem(world, leaf=leaf(epoch=1)) == enrolment.JOINED


def test_trap_25_a_renewal_needs_the_certificate_in_force(world: World) -> None:
    redeem(world)
    world.do(enrolment.record_agent_leaf(stamp(), "vm-1", 7, leaf(8)))
    assert serials(world) == [7, 8]  # the old one goes on until it ends
    for name, proof in (("vm-1", 9), ("vm-2", 7)):
        with pytest.raises(CredentialRefused):
            world.do(enrolment.record_agent_leaf(stamp(), name, proof, leaf(10)))
    with pytest.raises(CredentialRefused):
        world.do(enrolment.record_agent_leaf(stamp(200_000), "vm-1", 7, leaf(10, 300_000)))


def test_trap_4_a_removed_agent_has_nothing_left(world: World) -> None:
    redeem(world, acl_token=acl_token())
    world.register(on="vm-1")
    assert watches.MEMBERS in world.do(enrolment.remove_agent(stamp(), "vm-1"))
    assert serials(world) == []
    assert world.state.agent_leaf("vm-1", 7, 1_000) is None
    assert world.state.acl.token(acl_id(1)) is None
    assert world.state.nodes.get(("vm-1",)) is None
    with pytest.raises(CredentialRefused):
        redeem(world)  # not even by the key that it joined with
    assert world.attempt(enrolment.remove_agent(stamp(), "vm-1")).answer.value == ""


def test_a_revoked_token_lets_nobody_in_and_who_is_in_stays(world: World) -> None:
    redeem(world)
    world.do(enrolment.delete_join_token(stamp(), ID))
    assert world.state.members.get(("vm-1",)) is not None
    with pytest.raises(CredentialRefused):
        redeem(world)
    assert world.attempt(enrolment.delete_join_token(stamp(), ID)).answer.value == ""


def test_trap_23_a_token_ends_by_a_command_that_says_the_time(world: World) -> None:
    assert not due(world.state, HOUR_MS - 1)
    assert due(world.state, HOUR_MS)
    assert world.do(commands.expire(stamp(HOUR_MS))) == {watches.JOIN_TOKENS}
    assert len(world.state.join_tokens) == len(world.state.join_tokens_by_end) == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "short"}, "ID"),
        ({"secret_code": b"short"}, "Secret"),
        ({"node": "no/slash"}, "Node"),
        ({"node": "", "prefix": True}, "NodePrefix"),
        ({"expires_ms": 1_500}, "ExpirationTTL"),
        ({"expires_ms": 10**13}, "ExpirationTTL"),
        ({"description": "x" * 513}, "Description"),
    ],
)
def test_a_bad_token_names_its_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidCommand, match=named):
        World.set_up().do(enrolment.create_join_token(stamp(), token(**fields)))


def test_trap_28_no_secret_of_a_token_is_shown(world: World) -> None:
    assert repr(CODE) not in repr(world.state.join_tokens.get((ID,)))


# The life of a member


@pytest.fixture
def member(world: World) -> World:
    redeem(world)
    report(world, liveness.alive("vm-1", node("vm-1")))
    return world


def report(world: World, *reports: Any, time_ms: int = 1_000) -> str:
    done = world.attempt(liveness.report_agents(stamp(time_ms), reports))
    raise_refusal(done.answer)
    return done.answer.value


def status(world: World, name: str = "vm-1") -> str:
    found = world.state.check(name, NODE_ALIVE_ID).rows
    return found.status if found else ""


def the_member(world: World) -> Any:
    return world.state.members.get(("vm-1",))


def test_an_agent_that_is_heard_brings_its_node(member: World) -> None:
    assert status(member) == "passing"
    assert report(member, liveness.alive("vm-1", None)) == "1"
    assert report(member, liveness.alive("stranger", node("stranger"))) == "0"
    assert member.state.nodes.get(("stranger",)) is None


def test_trap_1_an_agent_can_only_describe_its_own_node(world: World) -> None:
    redeem(world)
    assert report(world, liveness.alive("vm-1", node("n1"))) == "0"
    assert report(world, liveness.alive("vm-1", node("vm-1", address="0.0.0.0"))) == "0"
    assert world.state.nodes.get(("vm-1",)) is None


def test_silence_makes_critical_and_a_word_makes_well(member: World) -> None:
    assert report(member, liveness.silent(the_member(member)), time_ms=5_000) == "1"
    assert (status(member), the_member(member).silent_ms) == ("critical", 5_000)
    assert report(member, liveness.alive("vm-1", None)) == "1"
    assert (status(member), the_member(member).silent_ms) == ("passing", 0)


def test_what_was_decided_by_an_older_row_changes_nothing(member: World) -> None:
    late = liveness.silent(the_member(member))
    report(member, liveness.silent(the_member(member)))
    report(member, liveness.alive("vm-1", None))
    assert report(member, late) == "0"
    assert status(member) == "passing"


def test_a_node_that_is_gone_may_come_back_by_its_certificate(member: World) -> None:
    report(member, liveness.silent(the_member(member)))
    assert report(member, liveness.gone(the_member(member)), time_ms=50_000) == "1"
    assert member.state.nodes.get(("vm-1",)) is None
    assert report(member, liveness.alive("vm-1", node("vm-1"))) == "1"
    assert status(member) == "passing"


def test_a_member_without_a_certificate_is_forgotten_with_its_node(world: World) -> None:
    redeem(world, acl_token=acl_token())
    report(world, liveness.alive("vm-1", node("vm-1")))
    report(world, liveness.silent(the_member(world)))
    report(world, liveness.gone(the_member(world)), time_ms=100_000)
    assert len(world.state.members) == 0
    assert world.state.acl.token(acl_id(1)) is None


def test_a_snapshot_holds_tokens_and_members(member: World) -> None:
    again = decode(encode(member.state))
    assert list(again.members.values()) == list(member.state.members.values())
    assert list(again.join_tokens_by_end.items()) == list(member.state.join_tokens_by_end.items())
