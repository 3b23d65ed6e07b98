"""Health of the application behind this sidecar, asked by the sidecar itself.

While a check fails, requests of peers are refused as not processed (REFUSED_STREAM), so that their sidecars
send them to another instance and, by what they count, leave this one out; `/ready` says so too. Open streams
go on: the application may be finishing them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

import structlog

from weft.aio import Tasks

from ..h2.outbox import Outbox
from ..traffic import Address, HealthCheck, ProbeKind
from .app import App, connect
from .endpoint import Endpoint
from .pool import Pool
from .prober import Asker, Record
from .sink import Sink

log = structlog.get_logger(__name__)


class AppHealth:
    """`changed` is called with why peers should stay away, "" once they need not."""

    def __init__(self, app: App, outbox: Outbox, tasks: Tasks, changed: Callable[[str], None]) -> None:
        self._app = app
        self._outbox = outbox
        self._tasks = tasks
        self._changed = changed
        self._asked: tuple[Address | None, tuple[HealthCheck, ...]] = None, ()
        self._askers: list[Asker] = []
        self._running: list[asyncio.Task[None]] = []
        self._sick: set[HealthCheck] = set()
        self.trouble = ""

    def configure(self, address: Address, checks: Sequence[HealthCheck]) -> None:
        """New checks begin without a verdict, and so does another application."""
        wanted = address, tuple(dict.fromkeys(checks))
        if wanted == self._asked:
            return
        self.close()
        self._asked = wanted
        self._sick.clear()
        self._tell()
        for check in wanted[1]:
            asker = Asker("localhost" if address.path else str(address), check, self._outbox)
            self._askers.append(asker)
            name = f"check of the application by {check.kind.value}"
            self._running.append(self._tasks.spawn(self._ask_on(check, asker), name))

    def close(self) -> None:
        for task in self._running:
            task.cancel()
        for asker in self._askers:
            asker.sink.end_all()
        self._running.clear()
        self._askers.clear()

    def sinks(self) -> Iterator[Sink]:
        """Where the questions under way are."""
        for asker in self._askers:
            yield asker.sink

    async def _ask_on(self, check: HealthCheck, asker: Asker) -> None:
        record = Record()
        while True:
            sick = record.judge(check, await self._ask(check, asker))
            if sick is not None and sick is not (check in self._sick):
                (self._sick.add if sick else self._sick.discard)(check)
                self._tell()
            await asyncio.sleep(check.interval_s)

    async def _ask(self, check: HealthCheck, asker: Asker) -> bool:
        pool = self._app.http2 if check.kind is ProbeKind.GRPC else self._app.http
        endpoint = _only(pool)
        if check.kind is ProbeKind.TCP:
            with contextlib.suppress(OSError):  # TimeoutError is one
                _, writer = await connect(endpoint.address, check.timeout_s)
                writer.close()
                return True
            return False
        return await asker.ask(pool, endpoint)

    def _tell(self) -> None:
        failing = [_shown(check) for check in self._asked[1] if check in self._sick]
        trouble = f"application unhealthy: {', '.join(failing)}" if failing else ""
        if trouble != self.trouble:
            self.trouble = trouble
            (log.warning if trouble else log.info)(trouble or "application healthy")
            self._changed(trouble)


def _only(pool: Pool) -> Endpoint:
    (endpoint,) = pool.endpoints.values()
    return endpoint


def _shown(check: HealthCheck) -> str:
    return f"{check.kind.value} {check.what}".strip()
