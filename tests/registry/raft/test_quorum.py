"""Majorities: by example, and against the definition."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from registry.raft.quorum import Outcome, agreed, majority, outcome

VOTERS = st.sets(st.sampled_from("abcdefg"), min_size=1)


@given(st.integers(1, 9))
def test_any_two_majorities_overlap(voters: int) -> None:
    size = majority(voters)
    assert 2 * size > voters
    assert 2 * (size - 1) <= voters


@given(VOTERS, st.data())
def test_agreed_is_the_largest_value_that_some_majority_has_reached(
    voters: set[str], data: st.DataObject
) -> None:
    values = {voter: data.draw(st.integers(0, 9)) for voter in sorted(voters)}
    by_definition = max(min(values[v] for v in some) for some in combinations(voters, majority(len(voters))))
    assert agreed(voters, values.__getitem__) == by_definition


@given(VOTERS, st.dictionaries(st.sampled_from("abcdefgxyz"), st.booleans()))
def test_an_election_is_open_exactly_while_missing_votes_could_decide_it(
    voters: set[str], votes: dict[str, bool]
) -> None:
    missing = voters - votes.keys()
    granted = sum(votes.get(voter, False) for voter in voters)
    found = outcome(voters, votes)
    assert (found is Outcome.WON) == (granted >= majority(len(voters)))
    assert (found is Outcome.LOST) == (granted + len(missing) < majority(len(voters)))


def test_without_voters_nothing_is_agreed_or_won() -> None:
    assert agreed((), lambda _: 7) == 0
    assert outcome((), {"a": True}) is not Outcome.WON
