"""The stream on which the registry is told what is measured here, for as long as the process lives.

Calls do not depend on it: while the registry is away, or does not know the stream, nothing is kept for it.
"""

import asyncio
import random
from collections.abc import AsyncIterator

import structlog

from weft.pb.mesh.v1.observe_pb2 import Observation, ObservationRequest

from .errors import RegistryUnreachable
from .measure import Measure
from .policy.renewal import backoff_s
from .session import Session
from .telemetry import Telemetry

PERIOD_S = 1.0  # until the registry says another
PERIOD_MIN_S, PERIOD_MAX_S = 0.1, 60.0

log = structlog.get_logger(__name__)


class Observer:
    """Tells one registry at a time, the one that the configuration comes from."""

    def __init__(self, session: Session, telemetry: Telemetry, rng: random.Random) -> None:
        self._session = session
        self._telemetry = telemetry
        self._rng = rng
        self._failures = 0
        self._period_s = PERIOD_S

    async def run(self) -> None:
        """Connects again for ever. Raises CredentialRejected."""
        while True:
            try:
                await self._session.observe(self._told(), self._asked)
            except RegistryUnreachable as error:
                self._failures += 1
                wait_s = backoff_s(self._failures, self._rng.random())
                log.debug("nobody observes", error=str(error), retry_in_s=round(wait_s, 2))
                await asyncio.sleep(wait_s)

    async def _told(self) -> AsyncIterator[Observation]:
        """What goes to the registry while one stream lasts."""
        measure = Measure(self._telemetry)
        while True:
            await asyncio.sleep(self._period_s)
            gained = measure.take()
            if gained is not None:
                yield Observation(measurements=gained)

    def _asked(self, request: ObservationRequest) -> None:
        self._failures = 0
        if request.WhichOneof("kind") == "pace":
            self._period_s = min(PERIOD_MAX_S, max(PERIOD_MIN_S, request.pace.period_ms / 1000))
