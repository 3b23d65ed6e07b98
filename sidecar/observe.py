"""The stream on which the registry is told what is measured here, for as long as the process lives.

Calls do not depend on it: while the registry is away, or does not know the stream, nothing is kept for it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import structlog

from weft.aio import Tasks
from weft.pb.mesh.v1.observe_pb2 import Observation, ObservationRequest

from .errors import RegistryUnreachable
from .measure import Measure
from .policy.renewal import backoff_s
from .remote_taps import RemoteTaps
from .session import Session
from .tapping import OpenTap
from .telemetry import Telemetry

PERIOD_S = 1.0  # until the registry says another
PERIOD_MIN_S, PERIOD_MAX_S = 0.1, 60.0
WAITING_MAX = 4  # messages that the stream has not taken yet

log = structlog.get_logger(__name__)

Asked = Callable[[ObservationRequest], None]


class Observer:
    """Tells one registry at a time, the one that the configuration comes from."""

    def __init__(self, session: Session, telemetry: Telemetry, open_tap: OpenTap, rng: random.Random) -> None:
        self._session = session
        self._telemetry = telemetry
        self._open_tap = open_tap
        self._rng = rng
        self._failures = 0

    async def run(self) -> None:
        """Connects again for ever. Raises CredentialRejected."""
        while True:
            stream = _Stream(self._telemetry, self._open_tap)
            try:
                await self._session.observe(stream.told(), self._answered(stream))
            except RegistryUnreachable as error:
                self._failures += 1
                wait_s = backoff_s(self._failures, self._rng.random())
                log.debug("nobody observes", error=str(error), retry_in_s=round(wait_s, 2))
                await stream.close()
                await asyncio.sleep(wait_s)
            finally:
                await stream.close()

    def _answered(self, stream: "_Stream") -> Asked:
        def asked(request: ObservationRequest) -> None:
            self._failures = 0
            stream.asked(request)

        return asked


class _Stream:
    """What goes to the registry while one stream lasts, and what it asks."""

    def __init__(self, telemetry: Telemetry, open_tap: OpenTap) -> None:
        self._waiting: asyncio.Queue[Observation] = asyncio.Queue(WAITING_MAX)
        self._taps = RemoteTaps(open_tap, self._waiting.put)
        self._tasks = Tasks()
        self._period_s = PERIOD_S
        self._tasks.spawn(self._measure(Measure(telemetry)), "measurements")

    async def close(self) -> None:
        await self._taps.close()
        await self._tasks.close()

    async def told(self) -> AsyncIterator[Observation]:
        while True:
            yield await self._waiting.get()

    async def _measure(self, measure: Measure) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            gained = measure.take()
            if gained is not None:
                await self._waiting.put(Observation(measurements=gained))

    def asked(self, request: ObservationRequest) -> None:
        match request.WhichOneof("kind"):
            case "pace":
                self._period_s = min(PERIOD_MAX_S, max(PERIOD_MIN_S, request.pace.period_ms / 1000))
            case "tap":
                self._taps.begin(request.tap.id, request.tap.query)
            case "end_tap":
                self._taps.end(request.end_tap.id)
