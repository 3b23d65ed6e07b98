"""While the registry takes this instance out, it is told once a second what is still open."""

import asyncio
from collections.abc import Callable, Iterator

from weft.pb.mesh.v1 import mesh_pb2

from .telemetry import Direction, Series, Telemetry

REPORT_S = 1.0


class DrainReports:
    """`tell` takes each report; `use` says whether any are wanted."""

    def __init__(self, telemetry: Telemetry, tell: Callable[[mesh_pb2.Open], None]) -> None:
        self._telemetry = telemetry
        self._tell = tell
        self._wanted = asyncio.Event()
        self._before = 0  # requests begun before the drain

    def use(self, draining: bool) -> None:
        if not draining:
            self._wanted.clear()
        elif not self._wanted.is_set():
            self._before = self._begun()
            self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            self._tell(mesh_pb2.Open(requests=self._open(), begun=self._begun() - self._before))
            await asyncio.sleep(REPORT_S)

    def _open(self) -> int:
        return sum(series.active for series in self._inbound())

    def _begun(self) -> int:
        return sum(series.requests for series in self._inbound())

    def _inbound(self) -> Iterator[Series]:
        return (it for call, it in self._telemetry.all_series.items() if call.direction is Direction.INBOUND)
