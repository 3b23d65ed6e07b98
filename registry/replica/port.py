"""The port behind which consensus lives: what the rest of the registry knows about the log."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from weft.pb.catalog.v1 import command_pb2

from ..catalog.state import State
from ..catalog.watches import WatchKey


@dataclass(frozen=True, slots=True)
class Result:
    """An applied command: its log index and the value that its kind answers ("" for most)."""

    index: int
    value: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What this server knows about the log. `leader` is "" while there is none."""

    leader: str
    peers: tuple[str, ...]
    is_leader: bool
    last_index: int
    applied_index: int
    durable: bool  # a write that was answered survives kill -9


class Log(Protocol):
    """An ordered, durable sequence of commands and the state that it makes."""

    async def propose(self, command: command_pb2.Command) -> Result:
        """Returns when the command is durable and applied; `view()` then includes it.

        Raises CommandRefused (its four kinds), NotReady, DiskFull or OutcomeUnknown.
        """

    async def read_index(self) -> int:
        """Confirms that `view()` holds every write answered before this call. Raises NotReady."""

    def view(self) -> State:
        """The newest applied state: immutable, costs nothing."""

    def status(self) -> Status: ...

    async def wait(self, keys: Collection[WatchKey], after_index: int, timeout_s: float) -> None:
        """Returns once one of the keys has an index above `after_index`, or the time is out.

        Proves nothing: the caller reads again. Raises NotReady when the log closes meanwhile.
        """

    async def failed(self) -> BaseException:
        """Returns only if the log had to stop (failed fsync, unknown command): the process must end."""

    async def close(self) -> None:
        """Refuses new commands, finishes those under way, releases the data directory."""
