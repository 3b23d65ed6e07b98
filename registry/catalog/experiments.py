"""Experiments with faults: the commands about them.

What one does is a rule of service-faults, with its end in it: sidecars end it by themselves, whatever becomes
of the registry. A row that has ended is no part of what they are told.
"""

from collections.abc import Iterable

import orjson

from weft.pb.catalog.v1 import experiment_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from ..chaos.conditions import parse
from ..config_entries.errors import InvalidEntry
from ..config_entries.inbound import FaultRule
from ..config_entries.schema import canonical_json, read, show
from ..errors import Conflict, InvalidCommand
from . import limits, rules
from .commands import EXPERIMENT_LEVEL, Stamp
from .draft import Draft
from .experiment_row import Experiment
from .rows import with_values
from .state import State

CONDITIONS_MAX = 8


def start_experiment(stamp: Stamp, row: Experiment) -> Command:
    """Conflict while one of the name runs."""
    command = Command(version=EXPERIMENT_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.start_experiment.experiment.CopyFrom(
        pb.Experiment(
            name=row.name, service=row.service, fault=row.fault, stop_if=row.stop_if, owner=row.owner
        )
    )
    return command


def end_experiments(stamp: Stamp, endings: Iterable[tuple[str, int]], reason: str) -> Command:
    """`endings` are names, each with the create index that it must have, or 0. Value: names that ended."""
    command = Command(version=EXPERIMENT_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.end_experiments.reason = reason
    for name, index in endings:
        command.end_experiments.endings.add(name=name, expected_index=index)
    return command


def rule_of(fault: bytes) -> FaultRule:
    """What an experiment does. Raises InvalidEntry."""
    try:
        raw = orjson.loads(fault)
    except orjson.JSONDecodeError as error:
        raise InvalidEntry("", str(error)) from None
    return read(FaultRule, raw, "")


def encoded(rule: FaultRule) -> bytes:
    """Canonical: equal rules are equal bytes."""
    return canonical_json(show(rule))


def running(state: State, service: str) -> list[Experiment]:
    """Those on the requests of a service, by name."""
    return [row for row in state.experiments.values() if row.service == service and row.runs]


def start(draft: Draft, command: pb.StartExperiment) -> str:
    given = command.experiment
    rule = rule_of(given.fault)
    row = Experiment(
        given.name,
        given.service,
        given.fault,
        rule.ends_unix_ms,
        draft.now_ms,
        tuple(given.stop_if),
        given.owner,
    )
    rules.name("Name", row.name)
    rules.name("Service", row.service)
    rules.refuse_unless(encoded(rule) == row.fault, "Fault: is not in its canonical form")
    rules.refuse_unless(rule.name == row.name, "Fault: has another name than the experiment")
    _check_end(row)
    rules.refuse_unless(len(row.stop_if) <= CONDITIONS_MAX, f"StopIf: {CONDITIONS_MAX} conditions at most")
    for at, condition in enumerate(row.stop_if):
        parse(condition, f"StopIf[{at}]")
    _make_room(draft, row)
    draft.put_experiment(row)
    return ""


def _check_end(row: Experiment) -> None:
    least, most = row.started_ms, row.started_ms + limits.EXPERIMENT_MS_MAX
    rules.refuse_unless(
        least < row.ends_ms <= most,
        f"Duration: an experiment ends by itself within {limits.EXPERIMENT_MS_MAX // 3_600_000} hours",
    )


def _make_room(draft: Draft, row: Experiment) -> None:
    """Raises Conflict, InvalidCommand."""
    old = draft.state.experiments.get((row.name,))
    if old is not None and old.runs:
        raise Conflict(f"an experiment {row.name!r} runs already: stop it, or choose another name")
    if old is not None:
        draft.drop_experiment(old)
    if len(running(draft.state, row.service)) >= limits.EXPERIMENTS_PER_SERVICE_MAX:
        raise InvalidCommand(
            f"{limits.EXPERIMENTS_PER_SERVICE_MAX} experiments run on {row.service}: end some"
        )
    if len(draft.state.experiments) < limits.EXPERIMENTS_MAX:
        return
    ended = [it for it in draft.state.experiments.values() if not it.runs]
    if not ended:
        raise InvalidCommand(f"{limits.EXPERIMENTS_MAX} experiments run: end some")
    draft.drop_experiment(min(ended, key=lambda it: (it.ended_ms, it.name)))


def end(draft: Draft, command: pb.EndExperiments) -> str:
    rules.text("Reason", command.reason, limits.REASON_CHARS_MAX)
    ended = []
    for ending in command.endings:
        row = draft.state.experiments.get((ending.name,))
        if row is None or not row.runs or ending.expected_index not in (0, row.indexes.create):
            continue
        draft.put_experiment(with_values(row, ended_ms=draft.now_ms, reason=command.reason))
        ended.append(row.name)
    return ",".join(ended)
