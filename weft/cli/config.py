"""`weft config`: config entries."""

from typing import Any

import click
import orjson

from ..errors import ConfigError, UsageError
from .consul_api import Api, Refused, takes_address
from .options import read_given
from .tables import show, show_result, takes_format

ENTRY_BYTES_MAX = 256 * 1024  # what the registry takes


@click.group()
def command() -> None:
    """Config entries: routing, defaults, permissions, faults, limits."""


def _identified(function: Any) -> Any:
    for name, what in (("name", "Its name."), ("kind", "Its kind, as service-router.")):
        function = click.option(f"--{name}", required=True, metavar=name.upper(), help=what)(function)
    return function


@command.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--cas", is_flag=True, help="Only what nobody has changed since --modify-index, or what is not there."
)
@click.option("--modify-index", type=click.IntRange(min=0), default=0, metavar="N", help="With --cas.")
@takes_address
@takes_format
def write(api: Api, form: str, files: tuple[str, ...], cas: bool, modify_index: int) -> None:
    """Write entries from FILEs, each one entry in HCL or JSON; "-" is standard input."""
    done = []
    for file in files:
        entry = _entry(file)
        query = {"cas": str(modify_index)} if cas else {}
        try:
            written = api.call("PUT", "/v1/config", query, entry)
        except Refused as refusal:
            raise click.ClickException(f"{file}: {refusal.text or refusal}") from None
        named = f"{_get(entry, 'kind')}/{_get(entry, 'name') or '(its only name)'}"
        if not written:
            raise click.ClickException(f"{named} is at another index than {modify_index}: read it again")
        done.append({"Kind": _get(entry, "kind"), "Name": _get(entry, "name")})
        if form != "json":
            click.echo(f"Config entry written: {named}")
    if form == "json":
        show_result(form, done, "")


def _entry(file: str) -> dict[str, Any]:
    """Raises ClickException for what cannot be read, and UsageError for what is neither HCL nor JSON."""
    from ..hcl import loads

    try:
        text = read_given(file, "", ENTRY_BYTES_MAX).decode()
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: cannot be read ({error})") from None
    entry = loads(text, file, bytes_max=ENTRY_BYTES_MAX)
    if not _get(entry, "kind"):
        raise UsageError(f'{file}: says no Kind; begin with Kind = "service-defaults" or another')
    return entry


def _get(entry: dict[str, Any], key: str) -> str:
    return str(next((value for name, value in entry.items() if name.lower() == key), "") or "")


@command.command()
@_identified
@takes_address
def read(api: Api, kind: str, name: str) -> None:
    """Show one entry as JSON."""
    click.echo(orjson.dumps(_found(api, kind, name), option=orjson.OPT_INDENT_2).decode())


@command.command("list")
@click.option("--kind", required=True, metavar="KIND", help="As service-router.")
@click.option("--filter", "expression", default="", metavar="EXPRESSION", help='As `Name matches "^web"`.')
@takes_address
@takes_format
def list_all(api: Api, form: str, kind: str, expression: str) -> None:
    """Entries of a kind."""
    query = {"filter": expression} if expression else {}
    found: list[dict[str, Any]] = api.call("GET", f"/v1/config/{kind}", query)
    show(
        form,
        found,
        ("Kind", "Name", "ModifyIndex"),
        [(it["Kind"], it["Name"], it["ModifyIndex"]) for it in found],
    )


@command.command()
@_identified
@click.option("--cas", is_flag=True, help="Only if nobody has changed it since --modify-index.")
@click.option("--modify-index", type=click.IntRange(min=0), default=0, metavar="N", help="With --cas.")
@takes_address
@takes_format
def delete(api: Api, form: str, kind: str, name: str, cas: bool, modify_index: int) -> None:
    """Remove an entry."""
    _found(api, kind, name)
    deleted = api.call("DELETE", f"/v1/config/{kind}/{name}", {"cas": str(modify_index)} if cas else {})
    if deleted is False:
        raise click.ClickException(f"{kind}/{name} is at another index than {modify_index}: read it again")
    show_result(form, {"Kind": kind, "Name": name}, f"Config entry deleted: {kind}/{name}")


def _found(api: Api, kind: str, name: str) -> Any:
    try:
        return api.get(f"/v1/config/{kind}/{name}")
    except Refused as refusal:
        if refusal.status == 404:
            raise click.ClickException(
                f"no config entry {kind}/{name}; see: weft config list --kind {kind}"
            ) from None
        raise
