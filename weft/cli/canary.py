"""`weft canary`: a new version gets more and more of the calls, as long as it does well."""

import time
from typing import Any

import click

from .consul_api import Api, Refused, takes_address
from .tables import show, show_result, takes_format

KIND = "service-canary"
LOOK_S = 1.0  # the registry looks as often
ACTIVE = ("running", "paused")
COLUMNS = ("Service", "To", "Phase", "Weight", "Step", "Requests", "Errors", "p99", "Next")
Row = dict[str, Any]


@click.group()
def command() -> None:
    """Move the calls of a service to a new version step by step, and back by itself when it does badly.

    The new version is a subset of the service (see the config entry service-resolver). The registry's leader
    moves the weights of the service-splitter by what the sidecars measure; docs/canary.md says how it judges.

    \b
    weft canary start orders --to v2
    weft canary status orders --watch
    weft canary abort orders
    """


def _percent(_context: click.Context, option: click.Parameter, value: str) -> float:
    try:
        found = float(value.strip().removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise click.BadParameter(f"{value!r}: write a percentage, as 1% or 0.5%", param=option)
    return found


def _steps(_context: click.Context, option: click.Parameter, value: str) -> list[float]:
    try:
        return [float(part.strip().removesuffix("%")) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: write rising percentages, as 1,5,25,50,100", param=option
        ) from None


_STICKY = {"header": "header", "cookie": "cookie", "query": "query_parameter"}


def _sticky(_context: click.Context, option: click.Parameter, value: str | None) -> list[Row]:
    if not value:
        return []
    kind, _, name = value.partition(":")
    if kind not in _STICKY or not name:
        raise click.BadParameter(f"{value!r}: write header:NAME, cookie:NAME or query:NAME", param=option)
    return [{"Field": _STICKY[kind], "FieldValue": name}]


@command.command()
@click.argument("service")
@click.option("--to", "subset", required=True, metavar="SUBSET", help="The new version.")
@click.option(
    "--from",
    "stable",
    default="",
    metavar="SUBSET",
    help="The version in use.  [default: what the splitter, or the resolver's DefaultSubset, says]",
)
@click.option(
    "--steps",
    default="1,5,25,50,100",
    show_default=True,
    callback=_steps,
    metavar="PERCENT,...",
    help="Shares of the calls, one after the other.",
)
@click.option(
    "--interval", default="1m", show_default=True, metavar="DURATION", help="How long each step is watched."
)
@click.option(
    "--max-error-rate",
    "errors",
    default="1%",
    show_default=True,
    callback=_percent,
    metavar="PERCENT",
    help="Of the new version's calls; above it, back.",
)
@click.option(
    "--max-p99",
    default="",
    metavar="DURATION",
    help="Of the new version's calls, to 10s; above it, back.  [default: not looked at]",
)
@click.option(
    "--min-requests",
    default=100,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Calls of the new version in a step, before it is judged good.",
)
@click.option(
    "--patience",
    default="",
    metavar="DURATION",
    help="How long a step may lack them; then back.  [default: 10 intervals]",
)
@click.option(
    "--sticky",
    callback=_sticky,
    metavar="KIND:NAME",
    help="header:NAME, cookie:NAME or query:NAME: a caller with the same value stays on one side, and moves "
    "to the new version only.  [default: as the splitter says, else by chance]",
)
@click.option("--wait", is_flag=True, help="Show it until its end. Exits with 1 unless it was promoted.")
@takes_address
@takes_format
def start(
    api: Api,
    form: str,
    service: str,
    subset: str,
    stable: str,
    steps: list[float],
    interval: str,
    errors: float,
    max_p99: str,
    min_requests: int,
    patience: str,
    sticky: list[Row],
    wait: bool,
) -> None:
    """Begin a canary of SERVICE.

    A step is judged at its end by the new version's calls of that step. One that is good leads on; after the
    last one the canary is promoted. Errors or slowness beyond what chance explains take it back at once, and
    so does a step that does not get its calls in time. Started again with other limits, a canary under way
    goes on with them.
    """
    if wait and form == "json":
        raise click.UsageError("--wait draws a picture; for programs: weft canary status --format json")
    entry = {
        "Kind": KIND,
        "Name": service,
        "ServiceSubset": subset,
        "StableSubset": stable,
        "Steps": steps,
        "Interval": interval,
        "MaxErrorPercent": errors,
        "MaxP99": max_p99,
        "MinRequests": min_requests,
        "Patience": patience,
        "Sticky": sticky,
    }
    _asked(service, lambda: api.call("PUT", "/v1/config", {}, entry))
    text = f"Canary started: {service} to {subset}, {', '.join(f'{step:g} %' for step in steps)}"
    show_result(form, entry, text)
    if wait:
        _watch(api, service)


def _asked(service: str, ask: Any) -> Any:
    try:
        return ask()
    except Refused as refusal:
        if refusal.status == 404:
            raise click.ClickException(f"no canary of {service}; see: weft canary status") from None
        raise click.ClickException(refusal.text or str(refusal)) from None


@command.command()
@click.argument("service", default="")
@click.option("--watch", is_flag=True, help="Show SERVICE's until its end; exits as `start --wait` does.")
@takes_address
@takes_format
def status(api: Api, form: str, service: str, watch: bool) -> None:
    """Show all canaries, or that of SERVICE with what happened so far."""
    if watch and not service:
        raise click.UsageError("--watch shows one canary; name its service")
    if watch:
        _watch(api, service)
        return
    found = _canaries(api, service)
    show(form, found, COLUMNS, [_cells(row) for row in found])
    if service and form == "table":
        click.echo("")
        show(form, found, ("Time", "Event", "Weight", "Reason"), [_event(it) for it in _history(found[0])])


def _canaries(api: Api, service: str) -> list[Row]:
    query = {"service": service} if service else {}
    found: list[Row] = api.call("GET", "/v1/mesh/canaries", query)
    if service and not found:
        raise click.ClickException(f"no canary of {service}; see: weft canary status")
    return found


def _cells(row: Row) -> tuple[str, ...]:
    state, live = row.get("Status", {}), row.get("Live", {})
    history = _history(row)
    return (
        row["Name"],
        row["ServiceSubset"],
        state.get("Phase", ""),
        f"{row['Weight']:g} %",
        f"{state.get('Step', 0)}/{len(row['Steps'])}",
        str(live.get("Requests", "-")),
        f"{live['ErrorRate'] * 100:.2f} %" if live.get("Requests") else "-",
        f"{live['P99Ms']:.1f} ms" if live.get("Requests") else "-",
        live.get("Next") or (history[-1].get("Reason", "") if history else ""),
    )


def _history(row: Row) -> list[Row]:
    found: list[Row] = row.get("Status", {}).get("History", [])
    return found


def _event(event: Row) -> tuple[str, ...]:
    return event["Time"], event["Event"], f"{event.get('Weight', 0):g} %", event.get("Reason", "")


def _watch(api: Api, service: str) -> None:
    """Until the canary has ended. Raises ClickException unless it was promoted."""
    from rich.console import Console
    from rich.live import Live

    from .canary_view import picture

    row = _canaries(api, service)[0]
    with Live(picture(row), console=Console(), auto_refresh=False) as live:
        while row.get("Status", {}).get("Phase") in ACTIVE:
            time.sleep(LOOK_S)
            row = _canaries(api, service)[0]
            live.update(picture(row), refresh=True)
    state = row.get("Status", {})
    if state.get("Phase") != "promoted":
        reason = _history(row)[-1].get("Reason", "")
        raise click.ClickException(f"canary of {service} {state.get('Phase')}: {reason}")


def _says(verb: str, done: str, help_text: str) -> None:
    @command.command(verb, help=help_text)
    @click.argument("service")
    @click.option("--reason", default="", metavar="TEXT", help="For its history.")
    @takes_address
    @takes_format
    def run(api: Api, form: str, service: str, reason: str) -> None:
        body = {"Reason": reason} if reason else None
        found = _asked(service, lambda: api.call("PUT", f"/v1/mesh/canary/{verb}/{service}", {}, body))
        weight = found["Status"]["History"][-1].get("Weight", 0)
        show_result(form, found, f"Canary {done}: {service}, {weight:g} %")


_says("abort", "aborted", "End the canary of SERVICE, and bring its splitter back as it was.")
_says("pause", "paused", "Let the canary of SERVICE stay at its step; it is not rolled back meanwhile.")
_says("resume", "resumed", "Go on with the canary of SERVICE; its step is watched from the beginning.")
_says("promote", "promoted", "Take the canary of SERVICE to its last step now, unproven, and end it.")
