"""Keeps the checks of this node going: probes on their interval, TTLs, aliases, removal of the dead."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import structlog

from weft.aio import Tasks
from weft.clock import Clock
from weft.errors import WeftError

from ..acl.caller import EVERYBODY
from ..catalog import watches
from ..catalog.model import CRITICAL, PASSING, WARNING, Check, is_maintenance
from ..errors import CommandRefused
from ..replica.port import Log
from . import alias
from .errors import UnknownService
from .local import OUTPUT_CHARS_MAX, Agent
from .probes import Prober
from .status import Outcome, Tracker

log = structlog.get_logger(__name__)

REAP_INTERVAL_S = 10.0
"""How often DeregisterCriticalServiceAfter is looked at; its least value is a minute."""
RETRY_S = 1.0  # after a write that the log could not take
FIRST_PROBE_WITHIN_S = 1.0  # a new instance need not wait for a long interval to become healthy
ALIAS_RECHECK_S = 300.0
ELSEWHERE_S = 5.0  # between two looks at another node: each is a question to a server
Elsewhere = Callable[[Check], Awaitable[Outcome | None]]
"""The verdict of an alias check about another node; None where nobody can tell."""
MARKS = {"pass": PASSING, "warn": WARNING, "fail": CRITICAL}


@dataclass(slots=True)
class _Running:
    check: Check
    tracker: Tracker
    renewed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Runner:
    """Runs what `agent` has registered. `draw` answers a number in [0, 1). `elsewhere` looks at other nodes,
    where `replica` knows this one only."""

    def __init__(
        self,
        replica: Log,
        agent: Agent,
        prober: Prober,
        clock: Clock,
        draw: Callable[[], float],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._log = replica
        self._agent = agent
        self._prober = prober
        self._clock = clock
        self._draw = draw
        self._tasks = Tasks()
        self._running: dict[str, _Running] = {}

    async def run(self) -> None:
        """Follows the registrations of this node until cancelled."""
        key = watches.node(self._agent.node.name)
        while True:
            index = self._log.view().index
            self.sync()
            await self._reap()
            await self._log.wait((key,), index, REAP_INTERVAL_S)

    async def close(self) -> None:
        await self._tasks.close()

    def sync(self) -> None:
        """Starts, restarts and ends checks so that they are those in the catalog."""
        rows = {row.id: row for row in self._agent.checks() if not is_maintenance(row)}
        for check_id, running in list(self._running.items()):
            row = rows.get(check_id)
            if row is None or _identity(row) != _identity(running.check):
                del self._running[check_id]
                if running.task:
                    running.task.cancel()
        for check_id, row in rows.items():
            if check_id not in self._running:
                self._start(row)

    def _start(self, row: Check) -> None:
        running = _Running(row, Tracker.of(row, self._clock.monotonic()))
        work = {"ttl": self._expire, "alias": self._follow}.get(row.type, self._poll)
        self._running[row.id] = running
        running.task = self._tasks.spawn(work(running), f"check {row.id}")

    def latest(self, check: Check) -> Check:
        """The row with the output of the last probe, which may not be written yet."""
        running = self._running.get(check.id)
        return replace(check, output=running.tracker.output) if running else check

    def passed_ago_s(self, check: Check) -> float | None:
        """Seconds since it passed last; None where that was before this process, or never."""
        running = self._running.get(check.id)
        passed_at = running.tracker.passed_at if running else None
        return None if passed_at is None else self._clock.monotonic() - passed_at

    async def report(self, check_id: str, status: str, output: str) -> None:
        """A caller's verdict on a TTL check. Raises UnknownCheck, NotTtl, and what Log.propose raises."""
        row = self._agent.ttl_check(check_id)
        self.sync()
        running = self._running[row.id]
        running.renewed.set()
        if running.tracker.observe(Outcome(status, output[:OUTPUT_CHARS_MAX]), self._clock.monotonic()):
            await self._write(running)

    async def _write(self, running: _Running) -> None:
        status, output = running.tracker.status, running.tracker.output
        await self._agent.set_status(running.check, status, output)
        running.tracker.written(status, output, self._clock.monotonic())

    async def _observe(self, running: _Running, outcome: Outcome) -> bool:
        """Takes a verdict in; answers whether the log knows what it should."""
        bounded = replace(outcome, output=outcome.output[:OUTPUT_CHARS_MAX])
        before = running.tracker.status
        if not running.tracker.observe(bounded, self._clock.monotonic()):
            return True
        try:
            await self._write(running)
        except CommandRefused:
            return True  # deregistered meanwhile: `sync` ends this task
        except WeftError as error:
            log.warning("check status is not written", check=running.check.id, error=str(error))
            return False
        after = running.tracker.status
        log.info("check", check=running.check.id, status=after, was=before, output=bounded.output[:200])
        return True

    async def _poll(self, running: _Running) -> None:
        """Interval checks. The phase is random: checks that start together do not probe together."""
        interval_s = running.check.definition.interval_ms / 1000
        pause_s = self._draw() * min(interval_s, FIRST_PROBE_WITHIN_S)
        spread_s = self._draw() * interval_s
        while True:
            await asyncio.sleep(pause_s)
            await self._observe(running, await self._prober.probe(running.check))
            pause_s, spread_s = spread_s or interval_s, 0.0

    async def _expire(self, running: _Running) -> None:
        """TTL checks: critical when nobody reported for a TTL."""
        ttl_s = running.check.definition.ttl_ms / 1000
        while True:
            try:
                async with asyncio.timeout(ttl_s):
                    await running.renewed.wait()
            except TimeoutError:
                await self._insist(running, Outcome(CRITICAL, "TTL expired"))
                await running.renewed.wait()
            running.renewed.clear()

    async def _insist(self, running: _Running, outcome: Outcome) -> None:
        """Nothing will repeat this verdict, so it is retried here until the log has it."""
        while True:
            if await self._observe(running, outcome):
                return
            await asyncio.sleep(RETRY_S)

    async def _follow(self, running: _Running) -> None:
        """Alias checks: the worst status of what they follow."""
        if self._elsewhere and running.check.definition.alias_node not in ("", self._agent.node.name):
            return await self._follow_elsewhere(running, self._elsewhere)
        while True:
            view = self._log.view()
            outcome, keys = alias.follow(view, running.check)
            written = await self._observe(running, outcome)
            await self._log.wait(keys, view.index, ALIAS_RECHECK_S if written else RETRY_S)

    async def _follow_elsewhere(self, running: _Running, look: Elsewhere) -> None:
        while True:
            if outcome := await look(running.check):
                await self._observe(running, outcome)
            await asyncio.sleep(ELSEWHERE_S * (0.5 + self._draw()))

    async def _reap(self) -> None:
        """Deregisters services that were critical for longer than their definition allows."""
        now = self._clock.monotonic()
        due = {
            running.check.service_id
            for running in self._running.values()
            if running.check.service_id and running.tracker.to_be_removed(now)
        }
        for service_id in sorted(due):
            try:
                await self._agent.deregister(service_id, EVERYBODY)
                log.warning("service removed: critical for too long", service=service_id)
            except (UnknownService, CommandRefused):
                continue
            except WeftError as error:
                log.warning("service is not removed", service=service_id, error=str(error))


def _identity(check: Check) -> tuple[object, ...]:
    """What a change of restarts the check."""
    return check.definition, check.type, check.service_id
