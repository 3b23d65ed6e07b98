"""Membership: each change, what is refused, and the encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.raft.config import (
    ADDRESS_BYTES_MAX,
    ID_BYTES_MAX,
    MEMBERS_MAX,
    Change,
    ChangeKind,
    Config,
    Member,
)
from registry.raft.errors import ChangeRefused

CHANGES = st.builds(
    Change, st.sampled_from(ChangeKind), st.sampled_from("abcde"), st.sampled_from(["", "h:1"])
)


def test_a_server_is_added_as_a_learner_and_promoted() -> None:
    config = Config.of("ab").after(Change(ChangeKind.ADD, "c", "host:8300"))
    assert (config.voters, config.learners) == ({"a", "b"}, {"c"})
    assert config.get("c") == Member("c", "host:8300", voter=False)
    config = config.after(Change(ChangeKind.PROMOTE, "c"))
    assert (config.voters, config.learners) == ({"a", "b", "c"}, set())
    assert config.get("c") == Member("c", "host:8300")


def test_adding_a_member_again_changes_its_address_only() -> None:
    config = Config.of("ab").after(Change(ChangeKind.ADD, "b", "elsewhere:1"))
    assert config.get("b") == Member("b", "elsewhere:1", voter=True)
    assert len(config.members) == 2


def test_a_server_is_demoted_and_removed() -> None:
    config = Config.of("abc").after(Change(ChangeKind.DEMOTE, "c"))
    assert (config.voters, config.learners) == ({"a", "b"}, {"c"})
    assert config.after(Change(ChangeKind.REMOVE, "c")) == Config.of("ab")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change(ChangeKind.REMOVE, "x"), "x is not a member"),
        (Change(ChangeKind.PROMOTE, "x"), "x is not a member"),
        (Change(ChangeKind.REMOVE, "a"), "a is the last voter"),
        (Change(ChangeKind.DEMOTE, "a"), "a is the last voter"),
        (Change(ChangeKind.ADD, ""), "id has 1 to"),
        (Change(ChangeKind.ADD, "x" * (ID_BYTES_MAX + 1)), "id has 1 to"),
        (Change(ChangeKind.ADD, "x", "h" * (ADDRESS_BYTES_MAX + 1)), "address has at most"),
    ],
)
def test_what_makes_no_sense_is_refused(change: Change, says: str) -> None:
    with pytest.raises(ChangeRefused, match=says):
        Config.of("a", "l").after(change)


def test_a_cluster_is_bounded() -> None:
    config = Config.of([f"{number:02}" for number in range(MEMBERS_MAX)])
    with pytest.raises(ChangeRefused, match="at most 16"):
        config.after(Change(ChangeKind.ADD, "one more"))
    config.after(Change(ChangeKind.ADD, "03", "new:1"))


@given(st.lists(CHANGES, max_size=20))
def test_majorities_of_neighbours_overlap(changes: list[Change]) -> None:
    """Thesis 4.1: one server at a time keeps any two majorities of old and new configuration together."""
    config = Config.of("abc")
    for change in changes:
        try:
            after = config.after(change)
        except ChangeRefused:
            continue
        assert len(config.voters ^ after.voters) <= 1
        assert [member.id for member in after.members] == sorted({member.id for member in after.members})
        assert Config.decode(after.encode()) == after
        config = after


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}", b"[1]", b'[["a"]]', b'[["a","",1]]', b'[["a",2,true]]', b"\xff"]
)
def test_only_what_encode_writes_is_decoded(data: bytes) -> None:
    with pytest.raises(ValueError):
        Config.decode(data)
