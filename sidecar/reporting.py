"""Single requests as the configuration wants them told: spans to a collector, lines to the access log."""

from collections.abc import Callable, Coroutine
from typing import Any

from .access_log import AccessLog
from .export import Export
from .outlets import Outlets
from .snapshot import Snapshot
from .telemetry import Telemetry

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Reporting:
    """Of one process that serves. `spawn` starts what runs on."""

    def __init__(self, outlets: Outlets, telemetry: Telemetry, spawn: Spawn) -> None:
        self._outlets = outlets
        self._telemetry = telemetry
        self._spawn = spawn
        self._access_log = AccessLog(outlets.log, telemetry)
        self._export: Export | None = None  # from the first snapshot on that wants it

    def start(self) -> None:
        self._spawn(self._access_log.run(), "access log")

    async def use(self, snapshot: Snapshot) -> None:
        """Spans and lines go where this configuration says."""
        policy = snapshot.telemetry
        await self._access_log.use(policy.access_log_path)
        if self._export is None and policy.otlp_endpoint:
            self._export = Export(
                self._outlets.spans, self._telemetry, snapshot.identity.service, snapshot.instance_key
            )
            self._spawn(self._export.run(), "export of spans")
        if self._export is not None:
            self._export.use(policy.otlp_endpoint)

    async def reopen(self) -> None:
        """The access log's file has been moved."""
        await self._access_log.reopen()

    async def close(self) -> None:
        await self._access_log.close()
        if self._export is not None:
            await self._export.close()
