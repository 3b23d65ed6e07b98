"""One command, one step of the state machine: pure, and the same on every server.

A known command with bad content has an error outcome. A command that this version does not know
raises UnknownCommand: skipping it would let servers drift apart, so the server must halt.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from weft.pb.catalog.v1 import command_pb2 as pb

from ..errors import REFUSALS, Code, CommandRefused, UnknownCommand
from . import (
    access,
    addresses,
    authority,
    canaries,
    codec,
    config_entries,
    enrolment,
    events,
    experiments,
    expiry,
    kv,
    limits,
    liveness,
    operator,
    queries,
    registrations,
    rules,
    sessions,
    trust,
    txn,
)
from .commands import COMMAND_VERSION, REQUEST_ID_BYTES
from .draft import Draft
from .state import Answered, State
from .watches import WatchKey


@dataclass(frozen=True, slots=True)
class Applied:
    """The next state, what to answer, and which watch keys moved."""

    state: State
    answer: Answered
    touched: frozenset[WatchKey]


def apply(state: State, command: pb.Command, index: int) -> Applied:
    """Applies the command at `index`. Raises UnknownCommand, and nothing else."""
    steps = apply_steps(state, command, index)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            applied: Applied = end.value
            return applied


def apply_steps(state: State, command: pb.Command, index: int) -> Generator[None, None, Applied]:
    """As `apply`. What is long, as a restore, yields after every millisecond or so of work."""
    ensure_known(command)
    now_ms = max(state.time_ms, command.time_ms)
    if known := state.answers.get(command.request_id):
        return Applied(replace(state, index=index, time_ms=now_ms), known, frozenset())
    draft = Draft.of(state, index, now_ms)
    code, message, value = Code.OK, "", ""
    try:
        _check_request_id(command)
        kind = str(command.WhichOneof("body"))
        if long := _LONG_HANDLERS.get(kind):
            value = yield from long(draft, getattr(command, kind))
        else:
            value = _HANDLERS[kind](draft, getattr(command, kind))
    except CommandRefused as refusal:
        draft = Draft.of(state, index, now_ms)
        code, message = _code_of(refusal), str(refusal)
    answer = Answered(now_ms, index, code, message, value)
    if len(command.request_id) == REQUEST_ID_BYTES:
        draft.remember(command.request_id, _kept(answer))
    next_state = yield from draft.finish()
    return Applied(next_state, answer, frozenset(draft.touched))


def dry_run(state: State, command: pb.Command) -> None:
    """Raises the refusal that the command would have as the next one; nothing changes."""
    kind = str(command.WhichOneof("body"))
    now_ms = max(state.time_ms, command.time_ms)
    _HANDLERS[kind](Draft.of(state, state.index + 1, now_ms), getattr(command, kind))


def raise_refusal(answer: Answered) -> None:
    """Raises the error that the outcome stands for; returns on success."""
    if answer.code:
        raise REFUSALS[Code(answer.code)](answer.message)


def _set_intention(draft: Draft, command: pb.SetIntention) -> str:
    return config_entries.put_intention(draft, codec.intention_from_pb(command.intention)).id


def _delete_intention(draft: Draft, command: pb.DeleteIntention) -> str:
    row = draft.state.intentions.get((command.destination, command.source))
    if row:
        draft.drop_intention(row)
    return "deleted" if row else ""


_HANDLERS: dict[str, Callable[[Draft, Any], str]] = {
    "init_cluster": trust.init_cluster,
    "register": registrations.register,
    "deregister": registrations.deregister,
    "update_check": registrations.update_check,
    "set_intention": _set_intention,
    "delete_intention": _delete_intention,
    "set_config_entry": config_entries.put,
    "delete_config_entry": config_entries.delete,
    "move_canary": canaries.move,
    "mint_credential": trust.mint_credential,
    "revoke_credential": trust.revoke_credential,
    "record_leaf": trust.record_leaf,
    "set_roots": trust.set_roots,
    "expire": expiry.expire,
    "configure_ca": authority.configure,
    "activate_root": authority.activate_root,
    "retire_roots": authority.retire_roots,
    "reseal_key": authority.reseal_key,
    "record_service_leaf": trust.record_service_leaf,
    "configure_autopilot": operator.configure_autopilot,
    "set_acl": access.set_acl,
    "delete_acl": access.delete_acl,
    "bootstrap_acl": access.bootstrap_acl,
    "create_session": sessions.create,
    "end_session": sessions.end,
    "fire_event": events.fire,
    "set_coordinate": events.put_coordinate,
    "set_query": queries.put,
    "delete_query": queries.delete,
    "create_join_token": enrolment.create,
    "delete_join_token": enrolment.delete,
    "redeem_join_token": enrolment.redeem,
    "record_agent_leaf": enrolment.record_leaf,
    "remove_agent": enrolment.remove,
    "report_agents": liveness.report,
    "start_experiment": experiments.start,
    "end_experiments": experiments.end,
}
_LONG_HANDLERS: dict[str, Callable[[Draft, Any], Generator[None, None, str]]] = {
    "restore": operator.restore,
    "give_addresses": addresses.give,
    "change_kv": kv.change,
    "txn": txn.carry_out,
}


def ensure_known(command: pb.Command) -> None:
    """Raises UnknownCommand unless this version can apply the command."""
    kind = command.WhichOneof("body")
    if not 1 <= command.version <= COMMAND_VERSION or kind is None or _has_unknown(command, kind):
        raise UnknownCommand(
            f"the log holds a command of version {command.version} ({kind or 'unknown kind'}); "
            f"this server knows up to version {COMMAND_VERSION}: start one at least as new as the proposer"
        )


def _has_unknown(command: pb.Command, kind: str) -> bool:
    return bool(len(UnknownFieldSet(command)) or len(UnknownFieldSet(getattr(command, kind))))


def _kept(answer: Answered) -> Answered:
    """What a retry is told."""
    if len(answer.value) <= limits.ANSWER_VALUE_CHARS_MAX:
        return answer
    message = "this was carried out before, but its results are not kept: read what it has written"
    return replace(answer, code=Code.CONFLICT, message=message, value="")


def _check_request_id(command: pb.Command) -> None:
    rules.refuse_unless(
        len(command.request_id) == REQUEST_ID_BYTES, f"request_id: must have {REQUEST_ID_BYTES} bytes"
    )


def _code_of(refusal: CommandRefused) -> Code:
    return next(code for code, kind in REFUSALS.items() if isinstance(refusal, kind))
