"""Sans-IO. What a command is about, for a line of the audit log: names and ids, no contents."""

from collections.abc import Iterator
from typing import Any

import orjson

from weft.pb.catalog.v1.command_pb2 import Command

SUBJECTS_MAX = 8
"""Named in one line. A transaction may touch 64 rows: its request id leads to them in the log."""

SUBJECT_CHARS_MAX = 128
_DEPTH_MAX = 3
_NAMING = frozenset(
    (
        *("accessor_id", "auth_method", "binding_rule", "check_id", "destination", "id", "instance_key"),
        *("key", "kind", "name", "node", "policy", "role", "service", "service_ids", "source", "token"),
    )
)
"""Fields that hold a name or an id in every message that has one of that name (`token` is an accessor id)."""


def kind_of(command: Command) -> str:
    return command.WhichOneof("body") or ""


def subjects(command: Command) -> tuple[str, ...]:
    """`field=value` of what names rows in the command, in the order of its schema, without repetition."""
    kind = kind_of(command)
    if not kind:
        return ()
    if kind == "set_config_entry":  # the entry is JSON in there
        return _entry(command.set_config_entry.body)
    if kind == "move_canary":
        return _entry(command.move_canary.body)
    found = dict.fromkeys(_first(_named(getattr(command, kind), _DEPTH_MAX)))
    return tuple(found)[:SUBJECTS_MAX]


def _entry(body: bytes) -> tuple[str, ...]:
    try:
        entry = orjson.loads(body)
    except ValueError:  # refused when it is applied
        return ()
    named = entry if isinstance(entry, dict) else {}
    return tuple(f"{key.lower()}={named.get(key, '')}"[:SUBJECT_CHARS_MAX] for key in ("Kind", "Name"))


def _first(names: Iterator[str]) -> Iterator[str]:
    """A bound for the walk too: names repeat, and a command may hold thousands of rows."""
    for _ in range(4 * SUBJECTS_MAX):
        if (name := next(names, None)) is None:
            return
        yield name


def _named(message: Any, depth: int) -> Iterator[str]:
    for described, value in message.ListFields():
        values = value if described.is_repeated else (value,)
        if described.type == described.TYPE_STRING and described.name in _NAMING:
            yield from (f"{described.name}={text[:SUBJECT_CHARS_MAX]}" for text in values)
        elif described.type == described.TYPE_MESSAGE and depth and not _is_map(described):
            for inner in values:
                yield from _named(inner, depth - 1)


def _is_map(described: Any) -> bool:
    return bool(described.message_type.GetOptions().map_entry)
