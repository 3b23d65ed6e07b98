"""What the leader does about experiments: ends those whose time is over, and those that do harm.

Sidecars end faults by themselves at the time that they were told; this only tidies up, and stops early.
"""

from functools import partial

import structlog

from ..agent.writer import Writer
from ..audit.event import Event, Outcome
from ..audit.log import Audit
from ..catalog import experiments
from ..catalog.experiment_row import Experiment
from ..chaos.conditions import SPAN_S, Condition, Finding, judge, parse
from .measuring import Measuring

log = structlog.get_logger(__name__)

OVER = "its time was over"


def findings(measuring: Measuring, row: Experiment) -> list[Finding]:
    """What its conditions say of the last seconds, as far as this server is told by sidecars."""
    conditions = (parse(it, f"StopIf[{at}]") for at, it in enumerate(row.stop_if))
    return [_finding(measuring, it, row.service) for it in conditions]


def _finding(measuring: Measuring, condition: Condition, service: str) -> Finding:
    return judge(condition, service, measuring.total(SPAN_S, partial(condition.counts, service)))


class Experiments:
    """One look a second, while this server leads."""

    def __init__(self, writer: Writer, measuring: Measuring, audit: Audit) -> None:
        self._writer = writer
        self._measuring = measuring
        self._audit = audit

    async def look(self) -> None:
        """Raises what `Log.propose` raises."""
        for row in self._writer.view().experiments.values():
            if row.runs and (reason := self._over(row)):
                await self._end(row, reason)

    def _over(self, row: Experiment) -> str:
        """Why it is; "" where it goes on."""
        if self._writer.now_ms() >= row.ends_ms:
            return OVER
        met = [it.told for it in findings(self._measuring, row) if it.is_met]
        return met[0] if met else ""

    async def _end(self, row: Experiment, reason: str) -> None:
        endings = ((row.name, row.indexes.create),)
        command = self._writer.stamped(partial(experiments.end_experiments, endings=endings, reason=reason))
        result = await self._writer.propose_stamped(command)
        if not result.value:
            return  # somebody was faster
        log.warning("an experiment has ended", name=row.name, service=row.service, reason=reason)
        self._audit.record(
            Event("chaos end", Outcome.DONE, resource=row.name, index=result.index, reason=reason,
                  request_id=command.request_id.hex(), detail={"service": row.service}, command=command)
        )  # fmt: skip
