"""What the request under way has led to, for the line that its end will write.

The command and its index are known where commands are proposed, the caller where requests are taken: they
meet here, by a context variable, so that no handler has to carry it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from weft.pb.catalog.v1.command_pb2 import Command

TRAIL: "ContextVar[Trail | None]" = ContextVar("audit trail", default=None)


@dataclass(slots=True)
class Trail:
    """Of one request. A request with several commands is known by its first."""

    command: Command | None = None
    index: int = 0
    accessor_id: str = ""  # of the caller's token, where it has one that is known

    def proposes(self, command: Command) -> None:
        if self.command is None:
            self.command = command

    @property
    def request_id(self) -> str:
        return self.command.request_id.hex() if self.command else ""


@contextmanager
def following(trail: Trail) -> Iterator[None]:
    """What is proposed inside is noted on `trail`."""
    before = TRAIL.set(trail)
    try:
        yield
    finally:
        TRAIL.reset(before)
