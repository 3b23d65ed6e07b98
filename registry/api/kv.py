"""`/v1/kv/:key`: keys and values."""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any

from weft.pb.catalog.v1.command_pb2 import Command

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog import commands, kv_commands
from ..catalog.kv import check_key
from ..catalog.model import KeyValue
from ..catalog.state import Read
from .errors import BadRequest
from .handling import Answer, Call, Reading, answer
from .query import Query
from .respond import Reply
from .views import Json

MISSING_NAME = "Missing key name"
RAW_TYPE = "text/plain"
RAW_HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
"""A value is anybody's bytes: a browser that is led here must not run them."""

_SLASHES = re.compile("//+")  # a path that Consul is asked for has none that follow each other


def get(reading: Reading) -> Answer:
    """One key, all that begin with it (`?recurse`), or their names (`?keys`)."""
    query = reading.query
    if query.flag("keys"):
        return _names(reading)
    if query.flag("recurse"):
        found, rows = _under(reading)
        return answer(found, list(map(shown, rows))) if rows else _absent(found)
    key = _key(reading.name)
    reading.caller.require("key", key, Access.READ)
    one = reading.state.key(key)
    if one.rows is None:
        return _absent(one)
    if query.flag("raw"):
        return Answer(one.rows.value, one.index, one.keys, RAW_TYPE, headers=RAW_HEADERS)
    return answer(one, [shown(one.rows)])


def _names(reading: Reading) -> Answer:
    """None at all is an empty list at the root, and 404 elsewhere (as in Consul)."""
    found, rows = _under(reading)
    prefix = _key(reading.name, is_prefix=True)
    if not rows and prefix:
        return _absent(found)
    separator = reading.query.text("separator") or reading.query.text("seperator")
    return answer(found, list(_cut((row.key for row in rows), prefix, separator)))


def _cut(keys: Iterable[str], prefix: str, separator: str) -> Iterator[str]:
    """Names up to the first separator behind the prefix, each once; keys come in order."""
    last = None
    for key in keys:
        if separator and (at := key.find(separator, len(prefix))) >= 0:
            key = key[: at + len(separator)]
        if key != last:
            yield key
        last = key


def _under(reading: Reading) -> tuple[Read[tuple[KeyValue, ...]], list[KeyValue]]:
    """What there is under the prefix, and what of it the caller may read."""
    prefix = _key(reading.name, is_prefix=True)
    if reading.parts.key_list_policy:
        reading.caller.require("key", prefix, Access.LIST)
    found = reading.state.keys_under(prefix)
    return found, reading.sieve.keep(found.rows, readable)


def readable(may: Authorizer, row: KeyValue) -> bool:
    return may.allows("key", row.key, Access.READ)


def _absent(found: Read[Any]) -> Answer:
    return Answer(None, found.index, found.keys, missing="")


def shown(row: KeyValue, *, with_value: bool = True) -> Json:
    """As Consul shows it: an empty value is null, no session is left out."""
    value = base64.b64encode(row.value).decode() if row.value and with_value else None
    return {
        "LockIndex": row.lock_index,
        "Key": row.key,
        "Flags": row.flags,
        "Value": value,
        **({"Session": row.session} if row.session else {}),
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


async def put(call: Call) -> Reply:
    """`true`, or `false` where `?cas=`, `?acquire=` or `?release=` was lost."""
    _refuse_conflicts(call.query, "cas", "acquire", "release")
    key, value = _key(call.name), call.body
    call.caller.require("key", key, Access.WRITE)
    flags, expected = call.query.unsigned("flags") or 0, call.query.unsigned("cas")
    acquire, release = call.query.text("acquire"), call.query.text("release")

    def build(stamp: commands.Stamp) -> Command:
        if acquire:
            return kv_commands.lock_kv(stamp, key, acquire, value, flags)
        if release:
            return kv_commands.unlock_kv(stamp, key, release, value, flags)
        return kv_commands.set_kv(stamp, key, value, flags, expected_index=expected)

    return await _proposed(call, build)


async def delete(call: Call) -> Reply:
    """`true`, also for what is not there; `false` where `?cas=` was lost."""
    _refuse_conflicts(call.query, "recurse", "cas")
    expected = call.query.unsigned("cas")
    if call.query.flag("recurse"):
        prefix = _key(call.name, is_prefix=True)
        call.caller.require_all("key", prefix, Access.WRITE)
        return await _proposed(call, lambda stamp: kv_commands.delete_kv_tree(stamp, prefix))
    key = _key(call.name)
    call.caller.require("key", key, Access.WRITE)
    return await _proposed(call, lambda stamp: kv_commands.delete_kv(stamp, key, expected_index=expected))


async def _proposed(call: Call, build: commands.Builder) -> Reply:
    result = await call.parts.writer.propose(build)
    return call.json(result.value == "true")


def _key(name: str, *, is_prefix: bool = False) -> str:
    """Raises BadRequest, InvalidCommand."""
    key = _SLASHES.sub("/", "/" + name)[1:]
    if not key and not is_prefix:
        raise BadRequest(MISSING_NAME)
    check_key(key, is_prefix=is_prefix)
    return key


def _refuse_conflicts(query: Query, *names: str) -> None:
    if sum(query.flag(name) for name in names) > 1:
        raise BadRequest(f"Conflicting flags: {query.encoded()}\n")
