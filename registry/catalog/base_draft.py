"""What every draft of the next state has: the state as changed so far, and the watch keys that moved."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Self

from .enrolment_model import JoinToken, Member
from .experiment_row import Experiment
from .model import (
    Authority,
    CaRoot,
    Check,
    ConfigEntry,
    CredentialRecord,
    Indexes,
    Intention,
    IntentionDefaults,
    KeyValue,
    Node,
    PreparedQuery,
    Service,
    Session,
)
from .state import Answered, Moved, State
from .tombstones import is_covering
from .tree import Key
from .watches import WatchKey

Row = (
    Node
    | Service
    | Check
    | Intention
    | IntentionDefaults
    | ConfigEntry
    | CredentialRecord
    | CaRoot
    | Authority
    | KeyValue
    | Session
    | PreparedQuery
    | JoinToken
    | Member
    | Experiment
)


TOUCHED_PER_STEP = 64
"""Watch keys that are moved between two steps: below a millisecond."""

TOUCHED_SORTED_MAX = 1024
"""Neighbours after each other are cheaper, but to sort 20,000 would be one step of 23 ms. A tree does not
show in which order it was filled."""


@dataclass(slots=True)
class BaseDraft:
    """`state` is the base with what was changed so far; `index` and `now_ms` are the command's.

    `removes` says that rows went, so that a touched key may cover nothing any more.
    """

    state: State
    index: int
    now_ms: int
    touched: set[WatchKey]
    created: Indexes  # of all rows that the command creates
    removes: bool = False

    @classmethod
    def of(cls, state: State, index: int, now_ms: int) -> Self:
        return cls(state.branch(), index, now_ms, set(), Indexes(index, index))

    def _change(self, **tables: Any) -> None:
        """Sets fields of the copy, which nobody else holds before `finish`.

        A State of its own per changed table would cost more than the change (20 fields each time).
        """
        for name, table in tables.items():
            object.__setattr__(self.state, name, table)

    def _indexes(self, old: Row | None) -> Indexes:
        return Indexes(old.indexes.create, self.index) if old else self.created

    def finish(self) -> Generator[None, None, State]:
        """The state after the command, with the index of every touched key; steps as `apply_steps`."""
        moved, tombstones = self.state.moved, self.state.tombstones
        now = Moved(self.index, self.now_ms)
        few = len(self.touched) <= TOUCHED_SORTED_MAX
        for count, key in enumerate(sorted(self.touched) if few else self.touched, 1):
            if tombstones and (old := moved.get(key)):
                tombstones = tombstones.without((old.time_ms, *key))
            if self.removes and not is_covering(self.state, key):
                tombstones = tombstones.put((self.now_ms, *key), None)
            moved = moved.put(key, now)
            if not count % TOUCHED_PER_STEP:
                yield
        self._change(index=self.index, time_ms=self.now_ms, moved=moved, tombstones=tombstones)
        return self.state

    def remember(self, request_id: bytes, answer: Answered) -> None:
        """A retry of the command is answered with this."""
        self._change(answers=self.state.answers.remember(request_id, answer))

    def drop_tombstones(self, keys: list[Key]) -> None:
        """Forgets watch indexes. They must not come back lower: the floor rises to them."""
        moved, tombstones, floor = self.state.moved, self.state.tombstones, self.state.floor
        for key in keys:
            floor = max(floor, self.state.index_of(key[1:]))
            moved, tombstones = moved.without(key[1:]), tombstones.without(key)
        self._change(moved=moved, tombstones=tombstones, floor=floor)
