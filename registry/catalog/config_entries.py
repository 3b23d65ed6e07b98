"""How config entries come, change and go; service-intentions as the rows of the intentions table."""

import hashlib

from weft.pb.catalog.v1 import command_pb2 as pb

from ..config_entries.canary import ServiceCanary
from ..config_entries.kinds import decoded, encoded
from ..config_entries.mesh_wide import JwtProvider
from ..config_entries.service_intentions import (
    ServiceIntentions,
    SourceIntention,
    encoded_jwt,
    encoded_permissions,
    providers_of,
)
from ..errors import InvalidCommand
from . import canaries, rules
from .draft import Draft
from .entry_rules import check_routing, compare
from .model import SERVICE_INTENTIONS, ConfigEntry, Intention, IntentionDefaults
from .state import State


def put(draft: Draft, command: pb.SetConfigEntry) -> str:
    entry = decoded(command.body)
    rules.refuse_unless(encoded(entry) == command.body, "the entry is not in its canonical form")
    if command.compare:
        compare(draft.state, entry.kind, entry.name, command.expected_index)
    if isinstance(entry, ServiceIntentions):
        _put_intentions(draft, entry)
    elif isinstance(entry, ServiceCanary):
        canaries.put(draft, entry)
    else:
        draft.put_config_entry(ConfigEntry(entry.kind, entry.name, command.body, entry))
        check_routing(draft.state, entry.kind, entry.name)
    return ""


def delete(draft: Draft, command: pb.DeleteConfigEntry) -> str:
    kind, name = command.kind, command.name
    if command.compare:
        compare(draft.state, kind, name, command.expected_index)
    if kind == SERVICE_INTENTIONS:
        rows = tuple(draft.state.intentions.prefix((name,)))
        for intention in rows:
            draft.drop_intention(intention)
        return "deleted" if rows else ""
    row = draft.state.config_entries.get((kind, name))
    if row is None:
        return ""
    canaries.refuse_if_active(row)
    draft.drop_config_entry(row)
    check_routing(draft.state, kind, name)
    if kind == JwtProvider.KIND:
        _refuse_if_needed(draft.state, name)
    return "deleted"


# Intentions


def _put_intentions(draft: Draft, entry: ServiceIntentions) -> None:
    """Sources that are not named any more go; those that say the same as before stay as they are."""
    check_providers(draft.state, providers_of((), entry.jwt))
    named = {source.name for source in entry.sources}
    for old in tuple(draft.state.intentions.prefix((entry.name,))):
        if old.source not in named:
            draft.drop_intention(old)
    for source in entry.sources:
        _put_source(draft, entry.name, source)
    draft.put_intention_defaults(IntentionDefaults(entry.name, encoded_jwt(entry.jwt), entry.meta))


def _put_source(draft: Draft, destination: str, source: SourceIntention) -> None:
    old = draft.state.intentions.get((destination, source.name))
    row = Intention(
        source.name,
        destination,
        source.action == "allow",
        _uuid(draft.index, destination, source.name),
        source.description,
        old.meta if old else {},
        permissions_json=encoded_permissions(source.permissions),
    )
    if old is None or _says(old) != _says(row):
        put_intention(draft, row)


def _says(row: Intention) -> tuple[object, ...]:
    return row.allow, row.description, row.permissions_json


def put_intention(draft: Draft, row: Intention) -> Intention:
    """Raises InvalidCommand for a row that cannot be."""
    rules.intention(row)
    check_providers(draft.state, providers_of(row.permissions))
    return draft.put_intention(row)


def _uuid(index: int, *names: str) -> str:
    """The same on every server: of the command's place in the log and what it is about (RFC 9562, 5.8)."""
    octets = bytearray(hashlib.sha256("\0".join((str(index), *names)).encode()).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x80
    octets[8] = octets[8] & 0x3F | 0x80
    digits = octets.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def check_providers(state: State, names: frozenset[str]) -> None:
    """Raises InvalidCommand for a JWT provider that does not exist."""
    for name in sorted(names):
        if (JwtProvider.KIND, name) not in state.config_entries:
            raise InvalidCommand(f"JWT provider {name!r} does not exist: write the jwt-provider first")


def _refuse_if_needed(state: State, name: str) -> None:
    """A provider that intentions name stays: without it they would deny everything."""
    for row in state.intention_defaults.values():
        if name in providers_of((), row.jwt):
            raise InvalidCommand(f"jwt-provider {name!r} is used by the intentions of {row.destination!r}")
    for intention in state.intentions.values():
        if intention.permissions_json and name in providers_of(intention.permissions):
            raise InvalidCommand(
                f"jwt-provider {name!r} is used by the intentions of {intention.destination!r}"
            )
