"""`weft intention`: who may call whom."""

from typing import Any

import click

from .consul_api import Api, Refused, takes_address
from .tables import show, show_result, takes_format

EXACT = "/v1/connect/intentions/exact"
DENIED_EXIT_CODE = 2  # as `consul intention check` ends for a denied call


@click.group()
def command() -> None:
    """Say which service may call which."""


@command.command()
@click.argument("source")
@click.argument("destination")
@click.option("--allow", "action", flag_value="allow", default=True, help="Calls are allowed.  [default]")
@click.option("--deny", "action", flag_value="deny", help="Calls are denied.")
@click.option("--replace", is_flag=True, help="Replace one that exists.")
@click.option("--description", default="", metavar="TEXT")
@takes_address
@takes_format
def create(
    api: Api, form: str, source: str, destination: str, action: str, replace: bool, description: str
) -> None:
    """Decide about calls from SOURCE to DESTINATION; "*" is any service."""
    if not replace and _find(api, source, destination) is not None:
        raise click.ClickException(
            f"an intention {source} => {destination} exists: add --replace, or delete it first"
        )
    body = {"Action": action, "Description": description}
    api.call("PUT", EXACT, {"source": source, "destination": destination}, body)
    document = {"SourceName": source, "DestinationName": destination, "Action": action}
    show_result(form, document, f"Created: {source} => {destination} ({action})")


@command.command()
@click.argument("source")
@click.argument("destination")
@takes_address
@takes_format
def delete(api: Api, form: str, source: str, destination: str) -> None:
    """Remove the intention from SOURCE to DESTINATION."""
    if _find(api, source, destination) is None:
        raise click.ClickException(f"no intention {source} => {destination}; see: weft intention list")
    api.call("DELETE", EXACT, {"source": source, "destination": destination})
    document = {"SourceName": source, "DestinationName": destination}
    show_result(form, document, f"Deleted: {source} => {destination}")


@command.command()
@click.argument("source")
@click.argument("destination")
@takes_address
@takes_format
def get(api: Api, form: str, source: str, destination: str) -> None:
    """Show the intention from SOURCE to DESTINATION."""
    found = _find(api, source, destination)
    if found is None:
        raise click.ClickException(f"no intention {source} => {destination}; see: weft intention list")
    show(form, found, _COLUMNS, [_row(found)])


@command.command("list")
@takes_address
@takes_format
def list_all(api: Api, form: str) -> None:
    """All intentions, the one that wins first."""
    found: list[dict[str, Any]] = api.get("/v1/connect/intentions")
    show(form, found, _COLUMNS, [_row(row) for row in found])


@command.command()
@click.argument("source")
@click.argument("destination")
@takes_address
@takes_format
@click.pass_context
def check(context: click.Context, api: Api, form: str, source: str, destination: str) -> None:
    """Would a call be allowed? Exits 0 if so and 2 if not."""
    answer = api.get("/v1/connect/intentions/check", source=source, destination=destination)
    if answer["Allowed"]:
        show_result(form, answer, "Allowed")
    else:
        show_result(form, answer, "" if form == "json" else _denied(api, source, destination))
        context.exit(DENIED_EXIT_CODE)


@command.command()
@click.argument("service")
@click.option("--source", "by", flag_value="source", help="Calls that SERVICE makes.")
@click.option("--destination", "by", flag_value="destination", default=True, help="Calls to it.  [default]")
@takes_address
@takes_format
def match(api: Api, form: str, service: str, by: str) -> None:
    """Intentions that calls of or to SERVICE meet."""
    found: list[dict[str, Any]] = api.get("/v1/connect/intentions/match", by=by, name=service)[service]
    show(form, found, _COLUMNS, [_row(row) for row in found])


def _denied(api: Api, source: str, destination: str) -> str:
    """The API's answer has no request in it: what decides by request denies there. Who may ask whether a
    call is allowed need not be allowed to read the intention."""
    try:
        found = api.get("/v1/connect/intentions/match", by="destination", name=destination)[destination]
    except Refused as refusal:
        if refusal.status != 403:
            raise
        return "Denied"
    first: dict[str, Any] = next((row for row in found if row["SourceName"] in (source, "*")), {})
    if not first.get("Permissions"):
        return "Denied"
    return (
        f"Denied unless a permission allows the request; see: weft explain {source} {destination} --path PATH"
    )


_COLUMNS = ("Source", "Action", "Destination", "Precedence", "Description")


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    action = row["Action"] or "by request"  # it has permissions instead
    return row["SourceName"], action, row["DestinationName"], row["Precedence"], row["Description"]


def _find(api: Api, source: str, destination: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.get(EXACT, source=source, destination=destination)
    except Refused as refusal:
        if refusal.status == 404:
            return None
        raise
    return found
