"""`weft kv`: keys and values."""

import base64
import binascii
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from ..errors import UsageError
from .consul_api import Api, Refused, takes_address
from .tables import show, show_result, takes_format

DATA_BYTES_MAX = 512 * 1024  # what the registry takes
IMPORT_BYTES_MAX = 1024 * 1024 * 1024


@click.group()
def command() -> None:
    """Keys and values.

    DATA is the value itself, @FILE for that of a file, or - for standard input.
    """


def _path(key: str) -> str:
    if key.startswith("/"):
        raise click.UsageError(f"KEY {key!r}: leave out the slash at its beginning")
    return f"/v1/kv/{key}"


@command.command()
@click.argument("key")
@click.option("--base64", "encoded", is_flag=True, help="Show the value in base64.")
@click.option("--detailed", is_flag=True, help="Show flags, session and indexes too.")
@takes_address
@takes_format
def get(api: Api, form: str, key: str, encoded: bool, detailed: bool) -> None:
    """Show the value of KEY, as it is."""
    row = _rows(api, key)[0]
    if detailed or form == "json":
        told = {**row, "Value": _value(row).decode(errors="replace")} if not encoded else row
        show(form, row, ("Of the key", ""), list(told.items()))
        return
    click.echo(row["Value"] or "" if encoded else _value(row))


@command.command()
@click.argument("key")
@click.argument("data", default="")
@click.option("--base64", "encoded", is_flag=True, help="DATA is in base64.")
@click.option("--flags", type=click.IntRange(0, 2**64 - 1), default=0, metavar="N", help="Kept beside it.")
@click.option("--cas", is_flag=True, help="Only if nobody has changed it since --modify-index.")
@click.option("--modify-index", type=click.IntRange(min=0), default=0, metavar="N", help="With --cas.")
@click.option("--acquire", is_flag=True, help="Take the lock for --session.")
@click.option("--release", is_flag=True, help="Give the lock of --session back.")
@click.option("--session", default="", metavar="ID", help="With --acquire or --release.")
@takes_address
@takes_format
def put(
    api: Api,
    form: str,
    key: str,
    data: str,
    encoded: bool,
    flags: int,
    cas: bool,
    modify_index: int,
    acquire: bool,
    release: bool,
    session: str,
) -> None:
    """Set the value of KEY to DATA."""
    if (acquire or release) and not session:
        raise click.UsageError("--acquire and --release need --session")
    query = {"flags": str(flags)} if flags else {}
    if cas:
        query["cas"] = str(modify_index)
    if acquire:
        query["acquire"] = session
    if release:
        query["release"] = session
    if not api.call("PUT", _path(key), query, raw=_data(data, encoded)):
        raise click.ClickException(f"{key} was not written: {_lost(cas, modify_index)}")
    show_result(form, {"Key": key}, f"Success! Data written to: {key}")


def _lost(cas: bool, modify_index: int) -> str:
    if cas:
        return f"it is at another index than {modify_index}; read it again"
    return "the lock is held by another session, or was released a moment ago (lock delay)"


@command.command()
@click.argument("key")
@click.option("--recurse", is_flag=True, help="All that begin with KEY.")
@click.option("--cas", is_flag=True, help="Only if nobody has changed it since --modify-index.")
@click.option("--modify-index", type=click.IntRange(min=1), metavar="N", help="With --cas.")
@takes_address
@takes_format
def delete(api: Api, form: str, key: str, recurse: bool, cas: bool, modify_index: int | None) -> None:
    """Remove KEY."""
    if cas and modify_index is None:
        raise click.UsageError("--cas needs --modify-index; see it with: weft kv get --detailed KEY")
    if cas and recurse:
        raise click.UsageError("--cas is of one key; leave out --recurse")
    query = {"recurse": ""} if recurse else {"cas": str(modify_index)} if cas else {}
    if not api.call("DELETE", _path(key), query):
        raise click.ClickException(f"{key} is at another index than {modify_index}: read it again")
    what = "keys with prefix" if recurse else "key"
    show_result(form, {"Key": key, "Recurse": recurse}, f"Success! Deleted {what}: {key}")


@command.command("list")
@click.argument("prefix", default="")
@click.option("--separator", default="", metavar="TEXT", help='Names up to this, as "/".')
@takes_address
@takes_format
def list_all(api: Api, form: str, prefix: str, separator: str) -> None:
    """Names of the keys that begin with PREFIX."""
    query = {"keys": "", **({"separator": separator} if separator else {})}
    try:
        keys: list[str] = api.call("GET", _path(prefix), query)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        keys = []
    if form == "json":
        show(form, keys, (), [])
        return
    for key in keys:
        click.echo(key)


@command.command("export")
@click.argument("prefix", default="")
@takes_address
def export(api: Api, prefix: str) -> None:
    """Write keys that begin with PREFIX as JSON, for `weft kv import` or Consul's."""
    rows = _rows(api, prefix, recurse=True)
    told = [{"key": row["Key"], "flags": row["Flags"], "value": row["Value"] or ""} for row in rows]
    click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())


@command.command("import")
@click.argument("data", default="-")
@click.option("--prefix", default="", metavar="TEXT", help="Goes before each key.")
@takes_address
@takes_format
def import_(api: Api, form: str, data: str, prefix: str) -> None:
    """Set the keys of an export, one by one; "-" is standard input, @FILE a file."""
    try:
        rows = orjson.loads(_read(data, IMPORT_BYTES_MAX))
        found = [(prefix + row["key"], int(row.get("flags", 0)), _decoded(row["value"])) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"DATA: is no export of keys ({error!r}); make one with: weft kv export") from None
    for key, flags, value in found:
        api.call("PUT", _path(key), {"flags": str(flags)}, raw=value)
        if form != "json":
            click.echo(f"Imported: {key}")
    if form == "json":
        show_result(form, {"Keys": [key for key, _, _ in found]}, "")


def _rows(api: Api, key: str, *, recurse: bool = False) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = api.call("GET", _path(key), {"recurse": ""} if recurse else {})
    except Refused as refusal:
        if refusal.status != 404:
            raise
        hint = f"no key {'begins with' if recurse else 'is named'} {key!r}; see: weft kv list"
        raise click.ClickException(hint) from None
    return rows


def _value(row: dict[str, Any]) -> bytes:
    return _decoded(row["Value"] or "")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _data(data: str, encoded: bool) -> bytes:
    raw = _read(data, DATA_BYTES_MAX)
    if len(raw) > DATA_BYTES_MAX * (2 if encoded else 1):
        raise UsageError(f"DATA: use at most {DATA_BYTES_MAX} bytes")
    try:
        return _decoded(raw.decode().strip()) if encoded else raw
    except (binascii.Error, UnicodeDecodeError):
        raise UsageError("DATA: is no base64; leave out --base64") from None


def _read(data: str, most: int) -> bytes:
    """What an argument stands for. Raises ClickException."""
    if data == "-":
        return sys.stdin.buffer.read(2 * most + 1)
    if not data.startswith("@"):
        return data.encode()
    try:
        with Path(data[1:]).open("rb") as file:
            return file.read(2 * most + 1)
    except OSError as error:
        raise click.ClickException(f"{data[1:]}: cannot be read ({error.strerror})") from None
