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

    leader: str  # its address
    peers: tuple[str, ...]  # addresses of all who vote, this server's included
    is_leader: bool
    last_index: int
    applied_index: int
    durable: bool  # a write that was answered survives kill -9
    server_id: str = ""
    leader_id: str = ""
    term: int = 0
    commit_index: int = 0
    last_contact_s: float = 0.0  # since the leader's last word; 0 when this server leads


class Log(Protocol):
    """An ordered, durable sequence of commands and the state that it makes."""

    async def propose(self, command: command_pb2.Command) -> Result:
        """Returns when the command is durable and applied; `view()` then includes it.

        Any server takes it. It is retried with its request id while the outcome is unknown, so it is
        applied once at most. Raises CommandRefused (its four kinds), NotReady, DiskFull or OutcomeUnknown.
        """

    async def read_index(self, *, consistent: bool = False) -> int:
        """Returns when `view()` holds every write answered before this call. Raises NotReady.

        By default the leader's lease may vouch for it, which rests on clocks that tick at about the same
        rate; `consistent` asks a majority each time.
        """

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
