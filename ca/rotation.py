"""Sans-IO. The life of a root as a table: which step comes next, and when.

    phase       step      due
    EMPTY       INSTALL   at once: there is no root, or its key is not in the catalog yet
    STEADY      REQUEST   when the root's end comes near; an operator may ask at any time
    REQUESTED   SWITCH    at once: a new root, cross-signed by the old, signs from now on
    SWITCHED    RETIRE    when the last leaf of the old root has ended on every clock

The phase is replicated, and whoever leads reads the next step from here. A leader that dies between two
steps leaves the next one to its successor; a step taken twice loses its compare-and-set. All times are
milliseconds since the Unix epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from weft.limits import CLOCK_SKEW_S

SKEW_MS = CLOCK_SKEW_S * 1000
ROOT_TTL_MS_MIN = 60 * 60 * 1000  # below it, roots would follow each other faster than people can look
ROOT_TTL_MS_MAX = 30 * 365 * 24 * 60 * 60 * 1000
ROOT_TTL_LEAVES_MIN = 4  # a root lives that many leaf lives: one to rotate in, one to retire the old root


class Phase(Enum):
    """Where the CA stands. The values are replicated: never change one."""

    EMPTY = 0
    STEADY = 1
    REQUESTED = 2
    SWITCHED = 3


class Step(Enum):
    """What the leader proposes."""

    INSTALL = "install"
    REQUEST = "request"
    SWITCH = "switch"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Position:
    """What the table decides by. `root_ends_ms` is of the root that signs, `retire_at_ms` of SWITCHED."""

    phase: Phase
    leaf_ttl_ms: int
    root_ends_ms: int = 0
    retire_at_ms: int = 0


class Row(NamedTuple):
    step: Step
    due_ms: Callable[[Position], int]
    leads_to: Phase


def _at_once(_position: Position) -> int:
    return 0


def _near_its_end(position: Position) -> int:
    """Early enough that leaves keep their whole life until the switch, and the old root lives until the
    last of its leaves has ended."""
    return position.root_ends_ms - 2 * (position.leaf_ttl_ms + SKEW_MS)


def _retirement(position: Position) -> int:
    return position.retire_at_ms


TABLE: dict[Phase, Row] = {
    Phase.EMPTY: Row(Step.INSTALL, _at_once, Phase.STEADY),
    Phase.STEADY: Row(Step.REQUEST, _near_its_end, Phase.REQUESTED),
    Phase.REQUESTED: Row(Step.SWITCH, _at_once, Phase.SWITCHED),
    Phase.SWITCHED: Row(Step.RETIRE, _retirement, Phase.STEADY),
}


def next_step(position: Position, now_ms: int) -> Step | None:
    """The step to take now; None when none is due."""
    row = TABLE[position.phase]
    return row.step if now_ms >= row.due_ms(position) else None


def due_ms(position: Position) -> int:
    """When the next step is due."""
    return TABLE[position.phase].due_ms(position)


def may_take(phase: Phase, step: Step) -> bool:
    """Whether `step` is the one that follows `phase`. An operator's REQUEST needs no due time."""
    return TABLE[phase].step is step


def retire_at_ms(switched_ms: int, leaf_ttl_ms: int, last_leaf_ends_ms: int) -> int:
    """When the old root may go: switch + longest leaf + skew.

    `last_leaf_ends_ms` is the latest end of all leaves recorded by then: it counts where leaves were given
    a longer life before `leaf_ttl_ms` was shortened.
    """
    return max(switched_ms + leaf_ttl_ms, last_leaf_ends_ms) + SKEW_MS
