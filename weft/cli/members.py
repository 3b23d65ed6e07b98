"""`weft members`: the servers of the cluster and the agents that have joined, and whether they are heard."""

from typing import Any

import click

from .consul_api import Api, takes_address
from .tables import show, takes_format

STATUSES = {1: "alive", 2: "leaving", 3: "left", 4: "failed"}  # Serf's numbers, as Consul's API has them


@click.command()
@takes_address
@takes_format
def command(api: Api, form: str) -> None:
    """List the members of the cluster."""
    found: list[dict[str, Any]] = api.get("/v1/agent/members")
    show(form, found, ("Node", "Address", "Status", "Type", "Build", "DC"), [_row(row) for row in found])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    tags = row["Tags"]
    status = STATUSES.get(row["Status"], "unknown")
    return (
        row["Name"],
        f"{row['Addr']}:{row['Port']}" if row["Port"] else row["Addr"] or "-",
        status,
        "server" if tags.get("role") == "consul" else "client",
        tags.get("build", ""),
        tags.get("dc", ""),
    )
