"""Sans-IO. Events on their way to the disk: made into lines once, however often the disk has to be asked."""

from dataclasses import dataclass, field
from typing import NamedTuple

from .chain import Head, line_of
from .event import Event


class Waiting(NamedTuple):
    """An event, and when it was told."""

    at_s: float  # Unix time
    event: Event


@dataclass(slots=True)
class Batch:
    """What is handed to the thread. The event loop reads `count` and `suppressed` alone meanwhile."""

    events: list[Waiting] = field(default_factory=list)  # until they are lines
    suppressed: int = 0  # refusals without a line before it, which its first line tells of
    lines: bytes = b""  # until they are written
    head: Head = field(default_factory=Head)  # the newest of the lines
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.events)

    def make(self, follows: Head) -> None:
        """Makes the lines that come after `follows`; does nothing the next time."""
        if not self.events:
            return
        head, lines = follows, bytearray()
        for number, (at_s, event) in enumerate(self.events):
            line, head = line_of(event, at_s, 0 if number else self.suppressed, head)
            lines += line
        self.lines, self.head, self.events = bytes(lines), head, []
