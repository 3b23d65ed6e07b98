"""`/v1/config*`: config entries."""

from ..acl.access import Access
from ..catalog import commands
from ..catalog.apply import dry_run
from ..catalog.model import SERVICE_INTENTIONS, ConfigEntry, Indexes
from ..config_entries.entry import Entry
from ..config_entries.errors import UnreadableEntry
from ..config_entries.kinds import encoded, kind_of, parse
from ..config_entries.schema import show
from ..errors import Conflict
from ..intentions.entry import Seen, entries_of, entry_of
from ..intentions.precedence import precedence
from .config_permission import may, require
from .errors import BadRequest, EntryUnreadable, NotFound
from .handling import Answer, Call, Reading, answer
from .respond import Reply
from .views import Json, rfc3339

KIND_OR_BOTH = "Must provide either a kind or both kind and name"


async def put(call: Call) -> Reply:
    """`true`, or with `?cas=` whether the entry was still that of the index."""
    try:
        entry = parse(call.body)
    except UnreadableEntry as error:
        raise EntryUnreadable(str(error)) from None
    require(call.caller, entry.kind, entry.name, Access.WRITE)
    body, expected = encoded(entry), call.query.unsigned("cas")
    return call.json(await _propose(call, lambda stamp: commands.set_config_entry(stamp, body, expected)))


async def delete(call: Call) -> Reply:
    """`{}`; with `?cas=` whether the entry was still that of the index."""
    kind, name = _kind_and_name(call.name)
    if not name:
        raise NotFound(KIND_OR_BOTH)
    require(call.caller, kind, name, Access.WRITE)
    expected = call.query.unsigned("cas")
    done = await _propose(call, lambda stamp: commands.delete_config_entry(stamp, kind, name, expected))
    return call.json({} if expected is None else done)


async def _propose(call: Call, build: commands.Builder) -> bool:
    """Looked at before it goes into the log, after all that was written before: most of what is impossible
    is refused here, and what races into impossibility when it is applied. False where `cas` lost."""
    await call.parts.log.read_index()
    command = call.parts.writer.stamped(build)
    try:
        dry_run(call.parts.log.view(), command)
        await call.parts.writer.propose_stamped(command)
    except Conflict:
        return False
    return True


def get(reading: Reading) -> Answer:
    """One entry, or all of a kind."""
    kind, name = _kind_and_name(reading.name)
    if not kind:
        return Answer(None, 1, (), missing=KIND_OR_BOTH)
    return _one(reading, kind, name) if name else _all(reading, kind)


def _one(reading: Reading, kind: str, name: str) -> Answer:
    require(reading.caller, kind, name, Access.READ)
    if kind == SERVICE_INTENTIONS:
        seen = entry_of(reading.state, name)
        shown = _intentions(seen.rows) if seen.rows else None
        return answer(seen, shown) if shown else _missing(seen.index, seen.keys, kind, name)
    found = reading.state.config_entry(kind, name)
    row = found.rows
    return answer(found, _entry(row)) if row else _missing(found.index, found.keys, kind, name)


def _missing(index: int, keys: tuple[tuple[str, ...], ...], kind: str, name: str) -> Answer:
    return Answer(None, index, keys, missing=f'Config entry not found for "{kind}" / "{name}"')


def _all(reading: Reading, kind: str) -> Answer:
    if kind == SERVICE_INTENTIONS:
        seen = entries_of(reading.state)
        all_seen = reading.sieve.keep(seen.rows, lambda it, row: may(it, kind, row.entry.name, Access.READ))
        return answer(seen, [row for row in map(_intentions, all_seen) if reading.keeps(row)])
    found = reading.state.config_entries_of(kind)
    rows = reading.sieve.keep(found.rows, lambda it, row: may(it, kind, row.entry.name, Access.READ))
    return answer(found, [row for row in map(_entry, rows) if reading.keeps(row)])


def _entry(row: ConfigEntry) -> Json:
    return _shown(row.entry, row.indexes)


def _shown(entry: Entry, indexes: Indexes) -> Json:
    return {**show(entry), "CreateIndex": indexes.create, "ModifyIndex": indexes.modify}


def _intentions(seen: Seen) -> Json:
    """With what the table of intentions knows of each source."""
    shown = _shown(seen.entry, seen.indexes)
    shown["Sources"] = [
        {
            **show(source),
            "Precedence": precedence(row),
            "Type": "consul",
            "LegacyID": row.id,
            "LegacyCreateTime": rfc3339(row.created_ms),
            "LegacyUpdateTime": rfc3339(row.updated_ms),
        }
        for source, row in zip(seen.entry.sources, seen.rows, strict=True)
    ]
    return shown


def _kind_and_name(path: str) -> tuple[str, str]:
    """`kind`, or `kind/name`. Raises BadRequest for a kind that there is not."""
    kind, _, name = path.partition("/")
    if kind:
        try:
            kind_of(kind)
        except UnreadableEntry as error:
            raise BadRequest(str(error)) from None
    return kind, name
