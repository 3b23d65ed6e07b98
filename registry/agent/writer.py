"""Proposes commands with their time and chance: the only place that stamps them."""

from collections.abc import Callable

from weft.clock import Clock
from weft.pb.catalog.v1.command_pb2 import Command

from ..audit.trail import TRAIL
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
        return await self.propose_stamped(self.stamped(build))

    async def propose_stamped(self, command: Command) -> Result:
        """What the request under way has led to is noted for its line in the audit log."""
        trail = TRAIL.get()
        if trail is None:
            return await self._log.propose(command)
        trail.proposes(command)
        result = await self._log.propose(command)
        trail.index = result.index
        return result

    def stamped(self, build: Builder) -> Command:
        return build(self._stamp())

    def _stamp(self) -> Stamp:
        return Stamp(self.now_ms(), self._entropy(REQUEST_ID_BYTES))

    def now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    def view(self) -> State:
        return self._log.view()
