"""`weft chaos`: experiments with faults."""

import re
import secrets
from typing import Any

import click
import orjson

from ..grpc_status import STATUSES
from .consul_api import Api, takes_address
from .options import pair
from .tables import show, show_result, takes_format

EXPERIMENT = "/v1/mesh/chaos/experiment"
EXPERIMENTS = "/v1/mesh/chaos/experiments"
CONDITIONS = "End early: 'error-rate>5%', 'p99>500ms', or of another service 'web error-rate>1%'."
UNITS = {"": 1, "k": 1000, "m": 1000_000, "ki": 1024, "mi": 1024 * 1024}


@click.group()
def command() -> None:
    """Experiments: faults on purpose, which always end by themselves."""


@command.command()
@click.argument("service")
@click.option("--name", metavar="NAME", help="Of the experiment.  [default: SERVICE and some letters]")
@click.option("--abort", metavar="STATUS", help="Answer with an HTTP status, or a gRPC one by name.")
@click.option("--delay", metavar="DELAY", help="200ms, 100ms..2s (uniform), 200ms+-50ms (normal), ~200ms "
              "(exponential).")  # fmt: skip
@click.option("--bandwidth", metavar="BYTES", help="Of the answer's body, per second: 64k, 1Mi.")
@click.option("--reset", is_flag=True, help="Reset the stream; of TCP the connection.")
@click.option("--percent", type=click.FloatRange(0, 100, min_open=True), default=100.0, show_default=True,
              help="Share of the requests.")  # fmt: skip
@click.option("--from", "sources", multiple=True, metavar="SERVICE", help="Only its calls; repeat for more.")
@click.option("--path", metavar="PREFIX", help="Only paths that begin with it.")
@click.option("--method", "methods", multiple=True, metavar="METHOD", help="Only these; repeat for more.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Only with it; all of them.")
@click.option("--grpc", metavar="SERVICE/METHOD", help="Only these calls: shop.Orders/Get or shop.Orders/")
@click.option("--for", "duration", default="5m", show_default=True, metavar="DURATION", help="24h at most.")
@click.option("--stop-if", "conditions", multiple=True, metavar="CONDITION", help=CONDITIONS)
@takes_address
@takes_format
def start(
    api: Api,
    form: str,
    service: str,
    name: str | None,
    duration: str,
    conditions: tuple[str, ...],
    **asked: Any,
) -> None:
    """Begin an experiment on requests to SERVICE, in front of each of its instances.

    The end goes out with the fault: sidecars keep to it even when no registry answers any more. --stop-if
    is judged by the leader, each second, over the last 10 s of what the service's sidecars measure: failures
    that experiments answered with do not count, time does, with the delay in it. Needs service:write.

      weft chaos start orders --abort 503 --percent 10 --from web --for 5m --stop-if 'error-rate>5%'
    """
    body = {
        "Name": name or f"{service}-{secrets.token_hex(3)}",
        "Service": service,
        "Duration": duration,
        "StopIf": list(conditions),
        "Fault": _fault(**asked),
    }
    made: dict[str, Any] = api.call("PUT", EXPERIMENT, body=body)
    text = f"Started: {made['Name']} on {service}, ends at {made['EndsAt']} by itself"
    show_result(form, made, f"{text}\nStop it with: weft chaos stop {made['Name']}")


def _fault(
    abort: str | None,
    delay: str | None,
    bandwidth: str | None,
    reset: bool,
    percent: float,
    sources: tuple[str, ...],
    path: str | None,
    methods: tuple[str, ...],
    headers: tuple[str, ...],
    grpc: str | None,
) -> dict[str, Any]:
    if not (abort or delay or bandwidth or reset):
        raise click.UsageError("say what to do: --abort, --delay, --bandwidth or --reset")
    fault: dict[str, Any] = {"Percent": percent, "Reset": reset}
    if abort:
        fault["Abort"] = _abort(abort)
    if delay:
        fault["Delay"] = delay_of(delay)
    if bandwidth:
        fault["BytesPerSecond"] = _bytes(bandwidth)
    rules = {
        "PathPrefix": path,
        "Methods": list(methods),
        "Header": [dict(zip(("Name", "Exact"), pair(it, "--header"), strict=True)) for it in headers],
    }
    said = {key: value for key, value in rules.items() if value}
    match: dict[str, Any] = {"HTTP": said} if said else {}
    if grpc:
        match["GRPC"] = _grpc(grpc)
    if sources:
        match["Sources"] = list(sources)
    return fault | ({"Match": match} if match else {})


def _abort(text: str) -> dict[str, int]:
    word = text.upper().removeprefix("GRPC:")
    if word in STATUSES[1:]:
        return {"GRPCStatus": STATUSES.index(word)}
    if text.isascii() and text.isdigit() and 200 <= int(text) < 600:
        return {"HTTPStatus": int(text)}
    raise click.BadParameter(f"{text[:40]!r}: write 503 or UNAVAILABLE", param_hint="--abort")


_DELAYS = (
    (re.compile(r"(?P<Min>[^~+]+?)\.\.(?P<Max>[^~+]+)"), "uniform"),
    (re.compile(r"(?P<Mean>[^~+.]+)\+-(?P<Deviation>[^~+]+)"), "normal"),
    (re.compile(r"~(?P<Mean>[^~+]+)"), "exponential"),
    (re.compile(r"(?P<Fixed>[^~+]+)"), "fixed"),
)


def delay_of(text: str) -> dict[str, str]:
    """The Delay of service-faults. What is no duration the registry refuses."""
    for pattern, distribution in _DELAYS:
        if found := pattern.fullmatch(text.strip()):
            return {"Distribution": distribution, **found.groupdict()}
    raise click.BadParameter(
        f"{text[:40]!r}: write 200ms, 100ms..2s, 200ms+-50ms or ~200ms", param_hint="--delay"
    )


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,10})([km]i?)?b?", text.lower())
    if not found:
        raise click.BadParameter(f"{text[:40]!r}: write bytes per second, as 64k", param_hint="--bandwidth")
    return int(found[1]) * UNITS[found[2] or ""]


def _grpc(text: str) -> dict[str, str]:
    service, slash, method = text.strip("/").partition("/")
    if not service:
        raise click.BadParameter(f"{text[:80]!r}: write SERVICE/METHOD", param_hint="--grpc")
    return {"Service": service, **({"Method": method} if slash and method else {})}


@command.command("list")
@click.option("--all", "ended", is_flag=True, help="Also those that have ended within the last hour.")
@takes_address
@takes_format
def list_all(api: Api, form: str, ended: bool) -> None:
    """Experiments that run."""
    found: list[dict[str, Any]] = api.get(EXPERIMENTS)
    shown = [it for it in found if ended or it["Status"] == "running"]
    rows = [
        (it["Name"], it["Service"], it["Status"], told(it["Fault"]), it["EndsAt"], it["Reason"])
        for it in shown
    ]
    show(form, shown, ("Name", "Service", "Status", "Fault", "EndsAt", "Reason"), rows)


@command.command()
@click.argument("name")
@takes_address
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(api: Api, form: str, name: str) -> None:
    """How an experiment stands: what is measured of its conditions, or why it has ended."""
    found = next((it for it in api.get(EXPERIMENTS) if it["Name"] == name), None)
    if found is None:
        raise click.ClickException(f"no experiment {name}; see: weft chaos list --all")
    if form == "json":
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{name} on {found['Service']}: {found['Status']}{_because(found)}")
    click.echo(f"  does      {told(found['Fault'])}")
    click.echo(f"  started   {found['StartedAt']}{_by(found)}")
    click.echo(f"  ends at   {found['EndsAt']} by itself")
    for it in found["Observed"]:
        click.echo(f"  stop if   {it['Condition']}: now {it['Told']}")


def _because(found: dict[str, Any]) -> str:
    return f", {found['Reason']} ({found['EndedAt']})" if found["Reason"] else ""


def _by(found: dict[str, Any]) -> str:
    return f" by {found['Owner']}" if found["Owner"] else ""


def told(fault: dict[str, Any]) -> str:
    """A fault of service-faults in some words."""
    abort, delay = fault.get("Abort", {}), dict(fault.get("Delay", {}))
    kind = delay.pop("Distribution", "fixed")
    words = [
        f"abort {abort.get('HTTPStatus') or STATUSES[abort['GRPCStatus']]}" if abort else "",
        f"delay {kind} {' '.join(f'{key}={value}' for key, value in delay.items())}" if delay else "",
        f"{fault['BytesPerSecond']} bytes/s" if fault.get("BytesPerSecond") else "",
        "reset" if fault.get("Reset") else "",
    ]
    match = f" of {_compact(fault['Match'])}" if fault.get("Match") else ""
    return f"{', '.join(filter(None, words))} on {fault.get('Percent', 100):g} %{match}"


def _compact(match: dict[str, Any]) -> str:
    return orjson.dumps(match).decode()


@command.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every experiment that runs.")
@takes_address
@takes_format
@click.pass_context
def stop(context: click.Context, api: Api, form: str, name: str | None, everything: bool) -> None:
    """End an experiment now, or --all of them."""
    if bool(name) == everything:
        raise click.UsageError("give a name, or --all")
    answer = api.call("DELETE", EXPERIMENTS if everything else f"{EXPERIMENT}/{name}")
    text = "\n".join(f"Stopped: {it}" for it in answer["Stopped"]) or "nothing ran"
    show_result(form, answer, text)
    if answer["Denied"]:
        click.echo(f"Not stopped, as the token may not: {', '.join(answer['Denied'])}", err=True)
        context.exit(1)
