"""Majorities (§5.2, §5.3): pure functions over the voters of one configuration."""

from collections.abc import Callable, Collection, Mapping
from enum import Enum


class Outcome(Enum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


def majority(voters: int) -> int:
    """The smallest number of voters that any other such number must overlap."""
    return voters // 2 + 1


def agreed(voters: Collection[str], value: Callable[[str], int]) -> int:
    """The largest value that a majority has reached; 0 without voters."""
    if not voters:
        return 0
    return sorted(map(value, voters), reverse=True)[majority(len(voters)) - 1]


def outcome(voters: Collection[str], votes: Mapping[str, bool]) -> Outcome:
    """Whether an election is decided. Votes of others than voters do not count."""
    granted = sum(votes.get(voter) is True for voter in voters)
    refused = sum(votes.get(voter) is False for voter in voters)
    if voters and granted >= majority(len(voters)):
        return Outcome.WON
    return (
        Outcome.OPEN if granted + len(voters) - granted - refused >= majority(len(voters)) else Outcome.LOST
    )
