"""`weft proxies`: which sidecars are connected, and whether each does what it was told."""

from typing import Any

import click

from .consul_api import Api, takes_address
from .tables import show, takes_format


@click.command()
@click.argument("service", default="")
@click.option(
    "--state",
    type=click.Choice(["synced", "waiting", "refused", "absent"]),
    help="refused: it could not use the newest configuration and goes on with the one before.",
)
@takes_address
@takes_format
def command(api: Api, form: str, service: str, state: str | None) -> None:
    """Show the sidecars and whether they are connected to a server, or those of SERVICE.

    A sidecar that gets a configuration which it cannot use keeps the last good one, and says why: its State
    is refused. One that is registered and that no server hears is absent. Index is the catalog's at the
    newest configuration that it has taken.

    \b
    weft proxies
    weft proxies --state refused
    """
    query = {name: value for name, value in (("service", service), ("state", state)) if value}
    found: dict[str, Any] = api.call("GET", "/v1/mesh/proxies", query)
    rows = [
        (
            row["Instance"],
            row["Service"],
            row["Server"],
            row["Version"],
            row["State"],
            row["Index"],
            row["Refused"],
        )
        for row in found["Proxies"]
    ]
    show(form, found, ("Instance", "Service", "Server", "Version", "State", "Index", "Reason"), rows)
    for server in found["Silent"]:
        click.echo(f"server {server} does not answer: its sidecars are not shown", err=True)
