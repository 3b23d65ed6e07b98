"""`weft drain`: takes an instance out without failing a request."""

import re
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from . import complete
from .consul_api import Api, Refused, takes_address
from .options import seconds_between
from .tables import show_result, takes_format

POLL_S = 0.25
QUIET_S = 2.5
"""Nothing open and nothing begun for so long: two reports of the sidecar (one a second), by when every
caller that hears the registry has been told."""
REASON = "draining"
WAIT_MAX_S = 24 * 3600.0
_PROGRESS = re.compile(r"(\d+) requests open, (\d+) begun since")
EPILOG = """
\b
Before an upgrade of one instance, on its machine:
  weft drain orders-1 --wait 60s && systemctl restart orders-1

To take it out and leave it registered: weft maint --enable --service orders-1
"""


@click.command(epilog=EPILOG)
@click.argument("service_id", shell_complete=complete.instances)
@click.option(
    "--wait",
    "wait_s",
    default="30s",
    show_default=True,
    callback=seconds_between(0, WAIT_MAX_S),
    metavar="DURATION",
    help="How long open requests may take to end; then they are cut off.",
)
@click.option("--keep", is_flag=True, help="Leave the instance registered, in maintenance.")
@takes_address
@takes_format
def command(api: Api, service_id: str, wait_s: float, keep: bool, form: str) -> None:
    """Take the instance SERVICE_ID out of use, wait for what it still carries, then deregister it.

    Callers' sidecars begin no new request on it and let open ones end; DNS and health queries leave it out.
    What is still open is shown until nothing is, or the wait is over. Interrupted, it stays in maintenance.
    """
    say = _silent if form == "json" else _say
    ids = with_sidecars(api, service_id)
    for each in reversed(ids):  # first the sidecar, which is to tell what is open
        api.call("PUT", _path("maintenance", each), {"enable": "true", "reason": REASON})
    say(f"{service_id} takes no new requests")
    begun = time.monotonic()
    try:
        left = _wait(api, ids[-1] if len(ids) > 1 else "", wait_s, say)
    except KeyboardInterrupt:
        click.echo(f"\nstill out of use; let it in again with: weft maint --disable --service {service_id}")
        raise
    if not keep:
        api.call("PUT", _path("deregister", service_id))
    done = f"{service_id} is {'in maintenance' if keep else 'deregistered'}"
    cut = f"; {left} requests were cut off" if left and not keep else ""
    document = {
        "ID": service_id,
        "Open": left,
        "WaitedSeconds": round(time.monotonic() - begun, 1),
        "Deregistered": not keep,
    }
    show_result(form, document, done + cut)


def _path(verb: str, service_id: str) -> str:
    return f"/v1/agent/service/{verb}/{service_id}"


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()  # a log that is followed shows progress too


def _silent(_text: str) -> None:
    """Programs wait for the result."""


def with_sidecars(api: Api, service_id: str) -> list[str]:
    """The instance, then the proxies that stand for it; at most one is usual. Raises Refused."""
    services: dict[str, dict[str, Any]] = api.get("/v1/agent/services")
    if service_id not in services:
        known = ", ".join(sorted(key for key, row in services.items() if not row.get("Kind"))[:10])
        message = (
            f'no instance "{service_id}" on this node that the token may read; there is {known or "none"}'
        )
        raise Refused(404, message)
    proxies = (key for key, row in services.items() if _stands_for(row) == service_id)
    return [service_id, *proxies]


def _stands_for(row: dict[str, Any]) -> str:
    """The instance id whose proxy this is, else ""."""
    return str(row.get("Proxy", {}).get("DestinationServiceID", ""))


class _Progress(NamedTuple):
    open: int
    begun: int

    def __str__(self) -> str:
        return f"{self.open} open" + (f", {self.begun} begun since" if self.begun else "")


_UNKNOWN = _Progress(-1, -1)


def _wait(api: Api, sidecar: str, wait_s: float, say: Callable[[str], Any]) -> int | None:
    """Until nothing is open or the time is over. How many are open; None where nobody can tell."""
    end = time.monotonic() + wait_s
    if not sidecar:
        say(f"it has no sidecar that counts requests: waiting {wait_s:g} s for its callers")
        time.sleep(wait_s)
        return None
    seen: _Progress | None = _UNKNOWN
    since = time.monotonic()
    while (now := time.monotonic()) < end:
        progress = _progress(api, sidecar)
        if progress != seen:
            seen, since = progress, now
            say(str(progress) if progress else "waiting for the sidecar to tell")
        elif progress and not progress.open and now - since >= QUIET_S:
            return 0
        time.sleep(min(POLL_S, max(0.0, end - now)))
    return seen.open if seen and seen is not _UNKNOWN else None


def _progress(api: Api, sidecar: str) -> _Progress | None:
    """What the sidecar has reported; None before it has. The servers know: an agent has not heard it."""
    check_id = f"_service_maintenance:{sidecar}"
    ours: dict[str, dict[str, Any]] = api.get("/v1/agent/checks")
    own = ours.get(check_id)
    if own is None:
        return None
    query = f'CheckID == "{check_id}" and Node == "{own["Node"]}"'
    found: list[dict[str, Any]] = api.get(f"/v1/health/checks/{own['ServiceName']}", filter=query)
    told = [_PROGRESS.fullmatch(row["Output"]) for row in found]
    return next((_Progress(int(it[1]), int(it[2])) for it in told if it), None)
