"""Proposes commands with their time and chance: the only place that stamps them."""

from collections.abc import Callable

from weft.clock import Clock
from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.commands import REQUEST_ID_BYTES, Builder, Stamp
from ..catalog.state import State
from ..replica.port import Log, Result

Entropy = Callable[[int], bytes]  # as os.urandom


class Writer:
    """Writes to the log. Errors are those of `Log.propose`."""

    def __init__(self, log: Log, clock: Clock, entropy: Entropy) -> None:
        self._log = log
        self._clock = clock
        self._entropy = entropy

    async def propose(self, build: Builder) -> Result:
        return await self._log.propose(self.stamped(build))

    def stamped(self, build: Builder) -> Command:
        return build(self._stamp())

    def _stamp(self) -> Stamp:
        return Stamp(self.now_ms(), self._entropy(REQUEST_ID_BYTES))

    def now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    def view(self) -> State:
        return self._log.view()
