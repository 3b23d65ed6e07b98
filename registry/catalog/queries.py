"""Prepared queries: how they come and go, which one a name means, and what a template makes of the name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from weft.pb.catalog.v1 import query_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command
from weft.regex import InvalidPattern, compile_pattern

from ..errors import Conflict, InvalidCommand, InvalidSession, NotFound
from . import limits, rules
from .commands import QUERY_LEVEL, Stamp
from .draft import Draft
from .model import PreparedQuery
from .state import State

_FIELDS = ("id", "name", "session", "owner", "template", "regexp", "definition")
_NAMES = r"name\.full|name\.prefix|name\.suffix|agent\.segment"
_PLACE = re.compile(rf"\$\{{\s*(?:({_NAMES})|match\(\s*(\d{{1,2}})\s*\))\s*\}}")
_ANY_PLACE = re.compile(r"\$\{[^}]*\}?")


def set_query(stamp: Stamp, row: PreparedQuery, *, update: bool = False) -> Command:
    """Conflict where the name is another one's; with `update` NotFound where there is none."""
    command = Command(version=QUERY_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    fields = {name: getattr(row, name) for name in _FIELDS}
    command.set_query.CopyFrom(pb.SetQuery(query=pb.PreparedQuery(**fields), update=update))
    return command


def delete_query(stamp: Stamp, query_id: str) -> Command:
    """Value: "deleted", or "" when there was none."""
    command = Command(version=QUERY_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.delete_query.id = query_id
    return command


def put(draft: Draft, command: pb.SetQuery) -> str:
    row = PreparedQuery(**{name: getattr(command.query, name) for name in _FIELDS})
    check(row)
    old = draft.state.queries.get((row.id,))
    if command.update and old is None:
        raise NotFound("Query not found")
    if not command.update and old is not None:
        raise Conflict(f"ID {row.id}: is another query's")
    other = draft.state.queries_by_name.get((row.template, row.name)) if row.is_named else None
    if other and other.id != row.id:
        raise Conflict(f"name {row.name[:128]!r} aliases an existing query name")
    if row.session and (row.session,) not in draft.state.sessions:
        raise InvalidSession(f'invalid session "{row.session[:64]}"')
    if old is None and len(draft.state.queries) >= limits.QUERIES_MAX:
        raise InvalidCommand(f"there are {limits.QUERIES_MAX} queries already; delete some")
    draft.put_query(row)
    return row.id


def delete(draft: Draft, command: pb.DeleteQuery) -> str:
    row = draft.state.queries.get((command.id,))
    if row is None:
        return ""
    draft.drop_query(row)
    return "deleted"


def check(row: PreparedQuery) -> None:
    """Raises InvalidCommand."""
    rules.uuid("ID", row.id)
    rules.text("Name", row.name, limits.LABEL_BYTES_MAX)
    rules.refuse_unless(len(row.definition) <= limits.JSON_BYTES_MAX, "Service: is too large")
    rules.refuse_unless(row.template or not row.regexp, "Template.Regexp: is of templates only")
    document = _document(row.definition)
    name = document.get("Service", {}).get("Service")
    rules.refuse_unless(isinstance(name, str) and name, "Must provide a Service name to query")
    if row.regexp:
        try:
            compile_pattern(row.regexp)
        except InvalidPattern as error:
            raise InvalidCommand(f"Template.Regexp: {error}") from None
    if row.template:
        _check_places(document)


def _document(definition: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(definition)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("Service"), dict):
        raise InvalidCommand("Service: must be an object")
    return found


def _check_places(value: Any) -> None:
    """Every `${...}` must be one that `render` knows."""
    if isinstance(value, str):
        for place in _ANY_PLACE.findall(value):
            rules.refuse_unless(
                _PLACE.fullmatch(place),
                f"Template: {place[:64]!r} is unknown; "
                "use ${name.full}, ${name.prefix}, ${name.suffix} or ${match(N)}",
            )
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_places(child)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A query with its template filled in. `document` is JSON of {"Service", "DNS"}."""

    query: PreparedQuery
    document: dict[str, Any]


def find(state: State, name: str) -> Rendered | None:
    """By id, by name, or by the longest template whose name the name begins with."""
    row = state.queries.get((name,)) or state.queries_by_name.get((False, name))
    if row is not None and not row.template:
        return Rendered(row, orjson.loads(row.definition))
    if row is not None:
        return _rendered(row, row.name)
    for length in range(len(name), -1, -1):
        if found := state.queries_by_name.get((True, name[:length])):
            return _rendered(found, name)
    return None


def _rendered(row: PreparedQuery, name: str) -> Rendered:
    document = orjson.loads(row.definition)
    matches = compile_pattern(row.regexp).groups_in(name) if row.regexp else ()
    values = {
        "name.full": name,
        "name.prefix": row.name,
        "name.suffix": name[len(row.name) :],
        "agent.segment": "",
    }

    def fill(place: re.Match[str]) -> str:
        if place[1]:
            return values[place[1]]
        number = int(place[2])
        return matches[number] if number < len(matches) else ""

    rendered = _filled(document, lambda text: _PLACE.sub(fill, text))
    if rendered.get("RemoveEmptyTags"):
        service = rendered["Service"]
        service["Tags"] = [tag for tag in service.get("Tags", []) if tag]
    return Rendered(row, rendered)


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, list):
        return [_filled(each, fill) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, fill) for key, each in value.items()}
    return value
