"""`weft tap`: live requests of a service."""

import sys
import time
from typing import Any
from urllib.parse import urlencode

import click
import orjson

from .consul_api import Api, takes_address
from .options import seconds

LIMIT = 100


@click.command()
@click.argument("service")
@click.option("--status", metavar="STATUS", help="UNAVAILABLE, 503, 5xx; several with commas.")
@click.option("--path", metavar="PREFIX", help="What the path begins with.")
@click.option("--method", metavar="METHOD", help="Of HTTP, or of a gRPC service.")
@click.option("--from", "source", metavar="SERVICE", help="Only its calls.")
@click.option("--to", "destination", metavar="SERVICE", help="Only calls to it; with --outbound.")
@click.option("--outbound", is_flag=True, help="Calls that SERVICE makes, not those that it gets.")
@click.option("--failed", is_flag=True, help="Only what failed.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=LIMIT, show_default=True, help="Then end.")
@click.option("--for", "duration", default="1m", show_default=True, metavar="DURATION", help="1h at most.")
@click.option("--rate", type=click.FloatRange(0, 1000, min_open=True), default=100.0, show_default=True,
              help="Requests a second that each sidecar tells at most.")  # fmt: skip
@takes_address
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    api: Api,
    service: str,
    status: str | None,
    path: str | None,
    method: str | None,
    source: str | None,
    destination: str | None,
    outbound: bool,
    failed: bool,
    limit: int,
    duration: str,
    rate: float,
    form: str,
) -> None:
    """Show requests to SERVICE as they end, wherever its sidecars are connected.

    Headers are shown by name, and by value only where that is harmless. Sidecars do nothing for it while
    nobody looks. Needs service:write on SERVICE, or operator:write; each tap is in the audit log.

      weft tap orders --status UNAVAILABLE --path /shop.Orders/ --from web --limit 100 --for 1m
    """
    from ..tap_query import parse_tap

    query = {
        "status": status,
        "path": path,
        "method": method,
        "source": source,
        "destination": destination,
        "direction": "outbound" if outbound else "inbound",
        "failed": "true" if failed else None,
        "rate": f"{rate:g}",
        "seconds": f"{seconds(duration, '--for'):g}",
    }
    said = {name: value for name, value in query.items() if value is not None}
    parse_tap(urlencode(said))
    show = _Shown(service, form)
    for line in api.lines(f"/v1/mesh/tap/{service}", {**said, "limit": str(limit)}):
        if line.strip():
            show(orjson.loads(line))
    show.end()


class _Shown:
    """Prints one line after the other. What is said about the tap itself goes to stderr."""

    def __init__(self, service: str, form: str) -> None:
        self._service = service
        self._form = form
        self._count = self._lost = 0

    def __call__(self, told: dict[str, Any]) -> None:
        if about := told.get("tap"):
            self._about(about)
            return
        self._count += 1
        click.echo(orjson.dumps(told).decode() if self._form == "json" else _line(told))
        sys.stdout.flush()

    def _about(self, about: dict[str, Any]) -> None:
        if "sidecars" in about:
            count = about["sidecars"]
            what = f"{count} sidecar{'' if count == 1 else 's'} of {self._service}"
            click.echo(
                f"tapping {what}" if count else f"no sidecar of {self._service} is connected", err=True
            )
        if "note" in about:
            click.echo(_clean(f"note: {about['note']}"), err=True)
        self._lost += about.get("lost", 0)

    def end(self) -> None:
        lost = f", {self._lost} more came too fast" if self._lost else ""
        click.echo(f"{self._count} requests{lost}", err=True)


def _line(told: dict[str, Any]) -> str:
    """For people: when, who, what, how it ended."""
    from ..grpc_status import STATUSES

    when = float(told.get("time", 0.0))
    clock = time.strftime("%H:%M:%S", time.gmtime(when)) + f"{when % 1:.3f}"[1:]
    grpc = told.get("grpc_status")
    status = STATUSES[grpc] if isinstance(grpc, int) and 0 <= grpc < len(STATUSES) else ""
    words = (
        clock,
        f"{told.get('source', '?')} -> {told.get('destination', '?')}",
        f"{told.get('method', '')} {told.get('path', '')}",
        f"{told.get('http_status', '-')}",
        status,
        f"{told.get('duration_ms', 0)}ms",
        f"({told['reason']})" if told.get("reason") else "",
        f"at {told.get('sidecar', '').rpartition('/')[2]}",
    )
    return _clean("  ".join(filter(None, words)))


def _clean(text: str) -> str:
    """What callers sent must not move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)
