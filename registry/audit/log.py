"""Writes the audit log from a thread, in batches: the event loop hands lines over and goes on.

A line survives the process once it is handed to the kernel, which is what `written` waits for, and a loss of
power SYNC_EVERY_S later. While the disk takes nothing, lines wait in memory and are tried again; whether
writes go on meanwhile is the operator's choice (`AuditSettings.refuses`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from weft.clock import Clock

from ..limits.rate import RateLimit
from ..limits.source import host_of, source_of
from ..replica.disk_thread import DiskThread
from .batch import Batch, Waiting
from .errors import AuditUnavailable
from .event import Event, Outcome
from .files import AuditFiles
from .settings import AuditSettings

log = structlog.get_logger(__name__)

SYNC_EVERY_S = 0.2
"""A sync of its own for each batch would double those of the log."""

GATHER_S = 0.02
"""Of lines in one batch, where nobody waits for them: waking the thread costs more than a line does."""

RETRY_S = 0.5
WAITING_MAX = 20_000
"""Events in memory while the disk is slow or full, handed over or not: about 20 MiB."""

WRITTEN_TIMEOUT_S = 5.0
"""How long a write that is done waits for its line before its client is told that there is none."""

CLOSE_TIMEOUT_S = 2.0

DENIALS_PER_S = 10
DENIALS_BURST = 100
"""Lines of refusals for one source. More are counted, not told: or a stranger's flood would turn the files
over until nothing else is left in them."""


class Audit(Protocol):
    """Where events are told. `record` is what everything that has one calls; it costs a list's append."""

    def record(self, event: Event) -> None:
        """Takes the event. Never waits, never raises."""

    def check(self) -> None:
        """Raises AuditUnavailable while nothing may be done without a line and none can be written."""

    async def written(self) -> None:
        """Returns when what was recorded survives this process. Raises AuditUnavailable.

        At once where things may be done without a line.
        """

    async def close(self) -> None:
        """Writes what waits."""


class Unaudited:
    """There is no audit log."""

    def record(self, event: Event) -> None:
        """Nobody reads it."""

    def check(self) -> None:
        """Everything may be done."""

    async def written(self) -> None:
        """Nothing is."""

    async def close(self) -> None:
        """Nothing waits."""


def open_audit(settings: AuditSettings | None, clock: Clock) -> Audit:
    """Raises AuditFileUnusable."""
    return AuditLog(settings, clock.wall, clock.monotonic) if settings else Unaudited()


class AuditLog:
    """One server's audit log. `wall` is Unix time in seconds, `monotonic` any other clock."""

    def __init__(
        self, settings: AuditSettings, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """Raises AuditFileUnusable."""
        self._files = AuditFiles(settings)
        self._refuses = settings.refuses
        self._wall = wall
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._thread = DiskThread("weft audit")
        self._waiting: list[Waiting] = []
        self._batch = Batch()  # handed over
        self._next: asyncio.Future[None] | None = None  # when what waits is written
        self._under_way: list[asyncio.Future[None]] = []  # when the batch is
        self._is_busy = False
        self._retry: asyncio.TimerHandle | None = None
        self._rate = RateLimit(DENIALS_PER_S, DENIALS_BURST)
        self._suppressed = 0  # refusals without a line
        self._is_closing = False
        self._synced_at = monotonic()
        self._is_synced = True
        self.failure = ""  # why the disk takes nothing now
        self.lines = self.lost = 0  # since the start
        self._begin(settings)

    def _begin(self, settings: AuditSettings) -> None:
        """The chain goes on over restarts: the first line says from where, and what is missing."""
        head, found = self._files.head, self._files.found
        log.info("the audit log goes on", path=str(settings.path), head=str(head))
        if found:
            log.error("the audit log was tampered with", path=str(settings.path), found=found)
        self.record(
            Event(
                "audit begin",
                Outcome.FAILED if found else Outcome.DONE,
                resource=str(settings.path),
                reason=found,
                detail={"follows": str(head), "torn_bytes": self._files.torn_bytes},
            )
        )

    def record(self, event: Event) -> None:
        if event.outcome is Outcome.DENIED and event.source and not self._may_tell_of(event.source):
            self._suppressed += 1
            return
        if self._held >= WAITING_MAX:
            self.lost += 1
            return
        self._waiting.append(Waiting(self._wall(), event))
        if not self._is_busy:
            self._is_busy = True
            if self._refuses:
                self._loop.call_soon(self._hand_over)  # with what else this turn of the loop brings
            else:
                self._loop.call_later(GATHER_S, self._hand_over)

    @property
    def _held(self) -> int:
        """Events in memory."""
        return self._batch.count + len(self._waiting)

    def _may_tell_of(self, peer: str) -> bool:
        return self._rate.take(source_of(host_of(peer)), self._monotonic())

    def check(self) -> None:
        if self._refuses and (self.failure or self._held >= WAITING_MAX):
            raise AuditUnavailable(
                f"the audit log cannot be written ({self.failure or 'too slow'}), and nothing is done "
                "without a line in it: make space, or start with --audit-on-failure continue"
            )

    async def written(self) -> None:
        if not self._refuses:
            return
        try:
            await self._flushed(WRITTEN_TIMEOUT_S)
        except TimeoutError:
            raise AuditUnavailable(
                "this was done, but could not be put down in the audit log: "
                f"{self.failure or 'the disk is too slow'}"
            ) from None

    async def _flushed(self, timeout_s: float) -> None:
        """Returns when what has been recorded is written. Raises TimeoutError."""
        if self._waiting:
            done = self._next = self._next or self._loop.create_future()
        elif self._batch.count:
            done = self._loop.create_future()
            self._under_way.append(done)
        else:
            return
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(done)

    def _hand_over(self) -> None:
        """Gives the thread what waits."""
        self._batch, self._waiting = Batch(self._waiting, self._suppressed), []
        if self._next:
            self._under_way.append(self._next)
            self._next = None
        self._submit()

    def _submit(self) -> None:
        """Has the thread write the batch, or the rest of what a try before has left undone."""
        self._retry, batch = None, self._batch
        self._thread.submit(lambda: self._write(batch), self._handed_over)

    def _write(self, batch: Batch) -> None:
        """In the thread. Raises OSError."""
        batch.make(self._files.head)
        if batch.lines:
            self._files.append(batch.lines, batch.head)
            batch.lines, self._is_synced = b"", False  # a sync that fails does not have them written twice
        if self._monotonic() - self._synced_at >= SYNC_EVERY_S:
            self._sync()

    def _sync(self) -> None:
        """In the thread. Raises OSError."""
        self._files.sync()
        self._synced_at = self._monotonic()
        self._is_synced = True

    def _handed_over(self, outcome: BaseException | None) -> None:
        """On the loop: the thread has done what it was given."""
        if isinstance(outcome, OSError):
            self._failed(outcome)
            return
        if outcome is not None:
            log.error("audit lines were lost", exc_info=outcome, lines=self._batch.count)
            self.lost += self._batch.count
        elif self.failure:
            log.warning("the audit log is written again")
        self.failure = ""
        self._suppressed -= self._batch.suppressed
        self.lines += self._batch.count
        self._batch = Batch()
        done, self._under_way = self._under_way, []
        for future in done:
            future.set_result(None)
        if self._waiting:
            self._hand_over()
            return
        self._is_busy = False
        if not self._is_synced:
            self._loop.call_later(SYNC_EVERY_S, self._sync_later)

    def _failed(self, error: OSError) -> None:
        if not self.failure:
            log.error("the audit log cannot be written", reason=str(error), refusing_writes=self._refuses)
        self.failure = error.strerror or str(error)
        if not self._is_closing:
            self._retry = self._loop.call_later(RETRY_S, self._submit)

    def _sync_later(self) -> None:
        if not self._is_busy and not self._is_synced and not self._is_closing:
            self._is_busy = True
            self._thread.submit(self._sync, self._handed_over)

    async def close(self) -> None:
        """Writes what waits; what the disk does not take now is lost, and said so."""
        self.record(Event("audit end", Outcome.DONE))
        with suppress(TimeoutError):
            await self._flushed(CLOSE_TIMEOUT_S)
        self._is_closing = True
        if self._retry:
            self._retry.cancel()
        self._thread.close()
        if left := self._held:
            log.error("audit lines were lost", reason=self.failure, lines=left)
        with suppress(OSError):
            self._files.sync()
        self._files.close()
