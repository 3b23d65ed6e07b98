"""`weft maint`: maintenance of this node or of one service, as `consul maint` has it."""

from typing import Any

import click

from . import complete
from .consul_api import Api, takes_address
from .drain import with_sidecars
from .tables import show, show_result, takes_format

NODE = "_node_maintenance"
SERVICE = "_service_maintenance:"


@click.command()
@click.option("--enable/--disable", default=None, help="Take it out of use, or let it in again.")
@click.option(
    "--service",
    default="",
    metavar="ID",
    shell_complete=complete.instances,
    help="One instance of this node, instead of the node.",
)
@click.option("--reason", default="", help="For whoever finds it out of use.")
@takes_address
@takes_format
def command(api: Api, enable: bool | None, service: str, reason: str, form: str) -> None:
    """Put this node, or one service on it, into maintenance; without options, list what is.

    What is in maintenance counts as critical: DNS and `?passing` leave it out, callers' sidecars begin no
    new request on it and let open ones end. `weft drain` waits for that and deregisters.
    """
    if enable is None:
        if service or reason:
            raise click.UsageError("give --enable or --disable")
        return _list(api, form)
    query = {"enable": str(enable).lower(), "reason": reason}
    if not service:
        api.call("PUT", "/v1/agent/maintenance", query)
    for each in with_sidecars(api, service) if service else ():  # the sidecar then tells what is open
        api.call("PUT", f"/v1/agent/service/maintenance/{each}", query)
    what = service or "this node"
    done = "in maintenance" if enable else "in use again"
    return show_result(form, {"Service": service, "Maintenance": enable}, f"{what} is {done}")


def _list(api: Api, form: str) -> None:
    checks: dict[str, dict[str, Any]] = api.get("/v1/agent/checks")
    found = [row for key, row in checks.items() if key == NODE or key.startswith(SERVICE)]
    rows = [(row["Node"], row["ServiceID"] or "(the node)", row["Notes"], row["Output"]) for row in found]
    show(form, found, ("Node", "Service", "Reason", "Open"), rows)
