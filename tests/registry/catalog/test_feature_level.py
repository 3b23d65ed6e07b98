"""When a new kind of command may be proposed: pure, by the servers' own rows."""

import pytest

from registry.catalog import codec, commands
from registry.catalog.apply import apply
from registry.catalog.feature_level import (
    FIRST_LEVEL,
    ID_META,
    LEVEL_META,
    SERVER_SERVICE,
    feature_level,
    refuse_too_new,
)
from registry.catalog.model import Check, CheckDefinition, Service
from registry.catalog.state import State
from registry.catalog.txn_commands import txn
from registry.errors import InvalidCommand
from tests.support.catalog import node, stamp
from weft.pb.catalog.v1 import txn_pb2
from weft.pb.catalog.v1.command_pb2 import Command


def told(**levels: str) -> State:
    """A catalog in which each server says its level."""
    state = State()
    for name, level in levels.items():
        meta = {ID_META: name, LEVEL_META: level} if level else {ID_META: name}
        row = Service(name, SERVER_SERVICE, SERVER_SERVICE, "dc1", meta=meta)
        state = apply(state, commands.register(stamp(), node(name), [row]), state.index + 1).state
    return state


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"a": "5", "b": "4"}, 4),
        ({"a": "5", "b": "5"}, 5),
        ({"a": "5", "b": ""}, FIRST_LEVEL),
        ({"a": "5", "b": "much"}, FIRST_LEVEL),
        ({"a": "5"}, FIRST_LEVEL),  # b has not said anything yet
    ],
)
def test_trap_21_the_level_is_that_of_the_oldest_member(levels: dict[str, str], expected: int) -> None:
    assert feature_level(told(**levels), ["a", "b"]) == expected


def test_who_is_no_member_does_not_count() -> None:
    assert feature_level(told(a="5", b="4"), ["a"]) == 5


def test_trap_21_a_command_above_the_level_is_refused() -> None:
    state = told(a="5", b="4")
    refuse_too_new(state, ["a", "b"], Command(version=4))
    with pytest.raises(InvalidCommand, match="upgrade all servers"):
        refuse_too_new(state, ["a", "b"], Command(version=5))


@pytest.mark.parametrize(
    "definition",
    [
        CheckDefinition(udp="a:1"),
        CheckDefinition(h2ping="a:1"),
        CheckDefinition(os_service="nginx"),
        CheckDefinition(args=("true",)),
        CheckDefinition(http="http://a/", output_bytes_max=1),
        CheckDefinition(http="http://a/", disable_redirects=True),
    ],
)
def test_trap_21_a_check_that_an_old_server_would_keep_in_part_asks_for_its_level(
    definition: CheckDefinition,
) -> None:
    def levels(row: Check) -> tuple[int, int]:
        step = txn_pb2.TxnOp(check=codec.check_to_pb(row))
        registered = commands.register(stamp(), node("n1"), (), [row])
        return registered.version, txn(stamp(), txn_pb2.Txn(ops=[step])).version

    row = Check("n1", "c", "c", definition=definition)
    assert levels(row) == (commands.CHECKS_LEVEL, commands.CHECKS_LEVEL)
    assert levels(Check("n1", "c", "c", definition=CheckDefinition(tcp="a:1"))) == (1, commands.TXN_LEVEL)
    assert codec.check_from_pb(codec.check_to_pb(row)) == row
