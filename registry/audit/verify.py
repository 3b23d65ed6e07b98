"""Sans-IO. Reads an audit log back and says whether it is whole. Needs no key."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .chain import GENESIS, Head, Line, read_line

REMEMBERED = 100_000
"""Lines back to which an insertion is traced to its first line; beyond, it is told of where it ends."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `wrong` is "" for a chain that is whole; `place` is where it is not."""

    lines: int
    first_seq: int
    head: Head
    wrong: str = ""
    place: Place | None = None


def verify(lines: Iterable[tuple[Place, bytes]], expected: Head | None = None) -> Report:
    """Reads up to the first line that was changed, removed or inserted.

    The first line may follow others that are gone with the oldest files. `expected` is a head that is known
    from elsewhere: it must be among the lines, or what it stands for has been cut off or made anew.
    """
    return _Reader(expected).read(lines)


class _Reader:
    def __init__(self, expected: Head | None) -> None:
        self._expected = expected
        self._seen: OrderedDict[str, Place] = OrderedDict()  # hash -> where, of the last lines
        self._head = Head()
        self._last = Place("", 0)
        self._first_seq = 0
        self._count = 0

    def read(self, lines: Iterable[tuple[Place, bytes]]) -> Report:
        met = self._expected is None or self._expected == Head()
        rest = iter(lines)
        for place, text in rest:
            line = read_line(text)
            if found := self._wrong(place, line, rest):
                return self._report(*found)
            assert line is not None
            self._take(place, line)
            met = met or self._head == self._expected
        if not met:
            return self._report(
                f"the line {self._expected} is not there: lines were removed from the end, or made anew",
                self._last,
            )
        return self._report()

    def _take(self, place: Place, line: Line) -> None:
        self._first_seq = self._first_seq or line.seq
        self._head, self._last = Head(line.seq, line.hash), place
        self._count += 1
        self._seen[line.hash] = place
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def _wrong(
        self, place: Place, line: Line | None, rest: Iterator[tuple[Place, bytes]]
    ) -> tuple[str, Place] | None:
        if line is None:
            return "this is no line of an audit log, or was changed", place
        if not line.is_sound:
            return "this line was changed: its hash does not fit its content", place
        if not self._count:
            return self._wrong_first(place, line)
        if line.prev == self._head.hash and line.seq == self._head.seq + 1:
            return None
        if line.hash in self._seen:
            return "this line was inserted: it is there already", place
        if line.prev in self._seen and line.prev != self._head.hash:
            return self._inserted(line.prev, place, next(rest, None))
        if line.seq > self._head.seq + 1:
            return f"{line.seq - self._head.seq - 1} lines before this one were removed", place
        if line.seq == self._head.seq + 1:
            return "this line was changed: the next one follows another", self._last
        return "this line was inserted: it follows no line that is there", place

    def _wrong_first(self, place: Place, line: Line) -> tuple[str, Place] | None:
        """Others may have gone with the oldest files; only the first of all follows none."""
        if (line.seq == 1) == (line.prev == GENESIS):
            return None
        return "all lines before this one were removed, or it was changed", place

    def _inserted(self, prev: str, place: Place, after: tuple[Place, bytes] | None) -> tuple[str, Place]:
        """A line follows one further up: it does not belong there, or what stands between does not."""
        told = "this line was inserted: the chain goes on without it"
        following = read_line(after[1]) if after else None
        if following and following.prev == self._head.hash:
            return told, place
        digests = list(self._seen)
        return told, self._seen[digests[digests.index(prev) + 1]]

    def _report(self, wrong: str = "", place: Place | None = None) -> Report:
        return Report(self._count, self._first_seq, self._head, wrong, place)
