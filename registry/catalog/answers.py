"""Outcomes of recent commands, so that a retry is answered and not applied again.

They are kept in generations of consecutive log indexes. Only the newest is a tree; the older ones are
never changed again and go as a whole, so a command pays for one insertion into a small tree and for no
removal. Where a generation begins follows from the indexes alone: a restored server forgets in step.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from . import limits
from .tree import Tree


@dataclass(frozen=True, slots=True)
class Answered:
    """The outcome of an applied command, for a retry of it."""

    time_ms: int
    index: int
    code: int
    message: str
    value: str


class _Generation(NamedTuple):
    last_ms: int
    by_id: Mapping[bytes, Answered]


@dataclass(frozen=True, slots=True)
class Answers:
    """An immutable map from request id to outcome."""

    newest: Tree[Answered] = field(default_factory=Tree)  # request id
    last: Answered | None = None  # the newest outcome
    older: tuple[_Generation, ...] = ()  # the oldest first

    @classmethod
    def load(cls, items: Iterable[tuple[bytes, Answered]]) -> Generator[None, None, "Answers"]:
        """From what `items` gave; a step for each generation, a millisecond or two."""
        answers = cls()
        for _, group in groupby(items, lambda item: _generation_of(item[1])):
            found = list(group)
            last = max((row for _, row in found), key=lambda row: row.index)
            newest = Tree.load(((request_id,), row) for request_id, row in found)
            answers = cls(newest, last, answers._closed())
            yield
        return answers

    def __len__(self) -> int:
        return len(self.newest) + sum(len(each.by_id) for each in self.older)

    def get(self, request_id: bytes) -> Answered | None:
        if found := self.newest.get((request_id,)):
            return found
        for generation in self.older:
            if found := generation.by_id.get(request_id):
                return found
        return None

    def remember(self, request_id: bytes, answer: Answered) -> "Answers":
        """With this outcome, and without generations that are too old or too many."""
        key = (request_id,)
        if self.last and _generation_of(self.last) == _generation_of(answer):
            return Answers(self.newest.put(key, answer), answer, self.older)
        begin_ms = answer.time_ms - limits.ANSWER_KEPT_MS
        recent = tuple(each for each in self._closed() if each.last_ms > begin_ms)
        newest = Tree[Answered]().put(key, answer)
        return Answers(newest, answer, recent[-limits.ANSWER_GENERATIONS_MAX :])

    def _closed(self) -> tuple[_Generation, ...]:
        if not self.last:
            return self.older
        by_id = {request_id: row for (request_id,), row in self.newest.items()}
        return *self.older, _Generation(self.last.time_ms, by_id)

    def items(self) -> Iterator[tuple[bytes, Answered]]:
        """Generations in order, by request id in each."""
        for generation in self.older:
            yield from generation.by_id.items()
        for (request_id,), row in self.newest.items():
            yield request_id, row


def _generation_of(answer: Answered) -> int:
    return answer.index // limits.ANSWERS_PER_GENERATION
