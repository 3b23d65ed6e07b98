"""How canaries begin, move and end. The status in an entry is ours: what writers say there is passed over."""

from dataclasses import replace

from weft.pb.catalog.v1 import command_pb2 as pb

from ..canary.move import begun
from ..canary.splitter import check_start
from ..config_entries.canary import ServiceCanary
from ..config_entries.kinds import decoded, encoded
from ..config_entries.routing import ServiceResolver, ServiceSplitter
from ..errors import InvalidCommand
from . import rules
from .draft import Draft
from .entry_rules import check_routing, compare, modify_index
from .model import ConfigEntry
from .state import State

SPLITTER = ServiceSplitter.KIND


def put(draft: Draft, entry: ServiceCanary) -> None:
    """Begins one, or changes the limits of one that is under way. Raises InvalidEntry, InvalidCommand."""
    row = draft.state.config_entries.get((ServiceCanary.KIND, entry.name))
    old = row.entry if row else None
    if isinstance(old, ServiceCanary) and old.is_active:
        _refuse_other_way(old, entry)
        _store(draft, replace(entry, status=old.status))
    else:
        _store(draft, _started(draft, entry))


def _started(draft: Draft, entry: ServiceCanary) -> ServiceCanary:
    splitter, resolver = routing_of(draft.state, entry.name)
    check_start(entry, splitter, resolver)
    return begun(entry, splitter, modify_index(draft.state, SPLITTER, entry.name), draft.now_ms)


def routing_of(state: State, name: str) -> tuple[ServiceSplitter | None, ServiceResolver | None]:
    splitter = state.config(SPLITTER, name)
    resolver = state.config(ServiceResolver.KIND, name)
    return (
        splitter if isinstance(splitter, ServiceSplitter) else None,
        resolver if isinstance(resolver, ServiceResolver) else None,
    )


def _refuse_other_way(old: ServiceCanary, new: ServiceCanary) -> None:
    """Raises InvalidCommand where more than limits and times differ."""
    same = (old.subset, old.stable, old.steps) == (new.subset, new.stable, new.steps)
    if not same:
        raise InvalidCommand(
            f"a canary of {old.name!r} to {old.subset!r} is {old.state.phase}: abort it first "
            f"(weft canary abort {old.name})"
        )


def refuse_if_active(row: ConfigEntry) -> None:
    """Raises InvalidCommand for a canary that is under way: deleted, it would leave its splitter behind."""
    if isinstance(row.entry, ServiceCanary) and row.entry.is_active:
        phase = row.entry.state.phase
        raise InvalidCommand(
            f"a canary of {row.name!r} is {phase}: abort it first (weft canary abort {row.name})"
        )


def move(draft: Draft, command: pb.MoveCanary) -> str:
    """Raises Conflict, ImpossibleChain and InvalidCommand; then neither entry has changed."""
    entry = decoded(command.body)
    rules.refuse_unless(
        isinstance(entry, ServiceCanary) and encoded(entry) == command.body, "the canary is not canonical"
    )
    assert isinstance(entry, ServiceCanary)  # for the type checker
    rules.refuse_unless(command.expected_index, "expected_index: a canary that is there is moved")
    compare(draft.state, ServiceCanary.KIND, entry.name, command.expected_index)
    _move_splitter(draft, command, entry.name)
    index = modify_index(draft.state, SPLITTER, entry.name)
    _store(draft, replace(entry, status=replace(entry.state, splitter_index=index)))
    return ""


def _move_splitter(draft: Draft, command: pb.MoveCanary, name: str) -> None:
    if not command.splitter and not command.drop_splitter:
        return
    compare(draft.state, SPLITTER, name, command.expected_splitter_index)
    if command.splitter:
        splitter = decoded(command.splitter)
        canonical = encoded(splitter) == command.splitter
        rules.refuse_unless((splitter.kind, splitter.name) == (SPLITTER, name), "the splitter is another's")
        rules.refuse_unless(canonical, "the splitter is not in its canonical form")
        draft.put_config_entry(ConfigEntry(SPLITTER, name, command.splitter, splitter))
    elif row := draft.state.config_entries.get((SPLITTER, name)):
        draft.drop_config_entry(row)
    check_routing(draft.state, SPLITTER, name)


def _store(draft: Draft, entry: ServiceCanary) -> None:
    draft.put_config_entry(ConfigEntry(entry.kind, entry.name, encoded(entry), entry))
