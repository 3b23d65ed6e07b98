"""A log for tests that applies at once, and may fail as a real one does."""

from collections.abc import Collection
from dataclasses import dataclass

from registry.catalog.apply import raise_refusal
from registry.catalog.state import State
from registry.catalog.watches import WatchKey
from registry.errors import NotReady, OutcomeUnknown
from registry.replica.port import Result, Status
from tests.support.catalog import World
from weft.pb.catalog.v1.command_pb2 import Command


@dataclass
class Server:
    """The log as one server sees it. `seen` is its view while it is deposed."""

    world: World
    fate: str = "well"
    seen: State | None = None

    async def propose(self, command: Command) -> Result:
        if self.fate == "dies before":
            raise NotReady("no leader")
        done = self.world.attempt(command)
        if self.fate == "dies after":
            raise OutcomeUnknown("the server failed while writing")
        raise_refusal(done.answer)
        return Result(done.answer.index, done.answer.value)

    async def read_index(self, *, consistent: bool = False) -> int:
        return self.world.state.index

    def view(self) -> State:
        return self.seen or self.world.state

    def status(self) -> Status:
        raise AssertionError("a step does not ask")

    async def wait(self, keys: Collection[WatchKey], after_index: int, timeout_s: float) -> None:
        raise AssertionError("a step does not wait")

    async def failed(self) -> BaseException:
        raise AssertionError("a step does not ask")

    async def close(self) -> None:
        """Nothing to close."""
