"""Rounds confirm the reads that came before they began, and no others."""

from registry.raft.ready import Read
from registry.raft.rounds import Rounds


def test_a_read_is_confirmed_by_the_round_that_began_after_it() -> None:
    rounds = Rounds()
    assert rounds.begin(now=1) == 1
    rounds.ask(7)
    assert rounds.confirmed(1) == []
    rounds.begin(now=2)
    rounds.cover(index=40)
    assert rounds.confirmed(1) == []
    assert rounds.confirmed(2) == [Read(7, 40)]
    assert rounds.confirmed(2) == []


def test_a_later_round_confirms_all_before_it_in_order() -> None:
    rounds = Rounds()
    for token in (1, 2, 3):
        rounds.ask(token)
        rounds.begin(now=token)
        rounds.cover(index=token * 10)
    assert rounds.confirmed(3) == [Read(1, 10), Read(2, 20), Read(3, 30)]


def test_a_lease_counts_from_when_the_confirmed_round_began() -> None:
    rounds = Rounds()
    assert rounds.began_at(0) is None
    for now in (3, 5, 8):
        rounds.begin(now)
    assert rounds.began_at(0) is None
    assert [rounds.began_at(round_) for round_ in (1, 2, 3)] == [3, 5, 8]
    rounds.confirmed(2)
    assert rounds.began_at(2) == 5
    assert rounds.began_at(3) == 8


def test_reads_that_wait_are_lost_with_the_leadership() -> None:
    rounds = Rounds()
    rounds.ask(1)
    rounds.begin(now=0)
    rounds.cover(index=0)
    rounds.ask(2)
    assert rounds.reads == 2
    assert rounds.lost() == [1, 2]
