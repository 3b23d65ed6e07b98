"""The streams on which sidecars tell what they measure."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc

from weft.aio import Tasks
from weft.pb.mesh.v1 import observe_pb2 as pb

from ..catalog import watches
from ..catalog.model import CredentialRecord
from ..catalog.state import State
from ..identity.credentials import REFUSED, still_valid
from ..identity.errors import Unauthenticated
from ..measurements.wire import Counted, of_sidecar
from ..operator.tapping import Tapping
from ..replica.port import Log

PERIOD_MS = 1000
MEASUREMENTS_EVERY_S = 0.1
"""At most. What a sidecar sends faster waits in it, by flow control: each message costs the others time."""
ASKED_MAX = 64  # requests to one sidecar that it has not taken yet
RECHECK_S = 600.0  # a parked stream looks again, should a wake-up ever be lost

Context = grpc.aio.ServicerContext[Any, Any]
Take = Callable[[Counted], None]


class Observed:
    """One sidecar's stream, from its first message to the last."""

    def __init__(
        self,
        log: Log,
        tasks: Tasks,
        record: CredentialRecord,
        context: Context,
        take: Take,
        tapping: Tapping,
    ) -> None:
        self._log = log
        self._tasks = tasks
        self._record = record
        self.instance_key = self._key = record.instance_key
        self._context = context
        self._take = take
        self._tapping = tapping
        self.service = service_of(log.view(), self._key)
        self._next_at = 0.0  # when measurements are read again
        self._asked: asyncio.Queue[pb.ObservationRequest] = asyncio.Queue(ASKED_MAX)

    def ask(self, request: pb.ObservationRequest) -> None:
        """Never waits: a sidecar that takes nothing is not asked."""
        with suppress(asyncio.QueueFull):
            self._asked.put_nowait(request)

    async def run(self) -> None:
        """Until the sidecar hangs up. Raises Unauthenticated when the credential is withdrawn, and
        InvalidMeasurement."""
        self.ask(pb.ObservationRequest(pace=pb.Pace(period_ms=PERIOD_MS)))
        with self._tapping.connected(self):
            await self._first_of(
                self._tasks.spawn(self._read(), f"observation {self._key}"),
                self._tasks.spawn(self._write(), f"requests to {self._key}"),
                self._tasks.spawn(self._until_withdrawn(), f"credential {self._key}"),
            )

    async def _first_of(self, *tasks: asyncio.Task[None]) -> None:
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _write(self) -> None:
        while True:
            await self._context.write(await self._asked.get())

    async def _read(self) -> None:
        while isinstance(message := await self._context.read(), pb.Observation):
            match message.WhichOneof("kind"):
                case "measurements":
                    await self._paced()
                    self._take(of_sidecar(message.measurements, self.service))
                case "tapped":
                    self._tapping.take(self, message.tapped)

    async def _paced(self) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._next_at - now))
        self._next_at = max(self._next_at, now) + MEASUREMENTS_EVERY_S

    async def _until_withdrawn(self) -> None:
        """Raises Unauthenticated, and NotReady when the log closes."""
        keys = frozenset((watches.credential(self._key), watches.instance(self._key)))
        while still_valid(state := self._log.view(), self._record):
            await self._log.wait(keys, state.index, RECHECK_S)
        raise Unauthenticated(REFUSED)


def service_of(state: State, key: str) -> str:
    """The service that the sidecar of this instance stands for. Raises Unauthenticated."""
    row = state.instance(key).rows
    if row is None:
        raise Unauthenticated(REFUSED)
    return row.connects_to or row.name
