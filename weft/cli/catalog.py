"""`weft catalog`: what is registered, and how it is."""

from datetime import UTC, datetime
from typing import Any

import click

from . import complete
from .ailments import ailments, last_passed
from .consul_api import Api, Refused, takes_address
from .tables import show, takes_format


@click.group()
def command() -> None:
    """Look into the catalog: services, nodes, instances."""


@command.command()
@takes_address
@takes_format
def services(api: Api, form: str) -> None:
    """Service names and their tags."""
    found: dict[str, list[str]] = api.get("/v1/catalog/services")
    show(form, found, ("Service", "Tags"), [(name, ",".join(tags)) for name, tags in sorted(found.items())])


@command.command()
@takes_address
@takes_format
def nodes(api: Api, form: str) -> None:
    """Nodes and their addresses."""
    found: list[dict[str, Any]] = api.get("/v1/catalog/nodes")
    rows = [(row["Node"], row["ID"][:8], row["Address"], row["Datacenter"]) for row in found]
    show(form, found, ("Node", "ID", "Address", "DC"), rows)


@command.command()
@takes_address
@takes_format
def datacenters(api: Api, form: str) -> None:
    """Datacenters that the registry knows."""
    found: list[str] = api.get("/v1/catalog/datacenters")
    show(form, found, ("Datacenter",), [(name,) for name in found])


@command.command()
@click.argument("service", shell_complete=complete.services)
@takes_address
@takes_format
def instances(api: Api, form: str, service: str) -> None:
    """Instances of SERVICE: where they are and whether they are healthy."""
    found: list[dict[str, Any]] = api.get(f"/v1/health/service/{service}")
    show(form, found, ("Instance", "Node", "Address", "Status", "Checks"), [_instance(row) for row in found])
    if form == "table":
        for line in ailments(found, _last_passed(api, found), datetime.now(UTC)):
            click.echo(line)


def _last_passed(api: Api, found: list[dict[str, Any]]) -> dict[tuple[str, str], datetime]:
    """Only the agent of a node knows it of its checks; without the right to ask, it is left out."""
    if all(check["Status"] == "passing" for row in found for check in row["Checks"]):
        return {}
    try:
        return last_passed(api.get("/v1/agent/checks"))
    except Refused:
        return {}


def _instance(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    on, of, checks = row["Node"], row["Service"], row["Checks"]
    failing = [check["CheckID"] for check in checks if check["Status"] != "passing"]
    worst = next((s for s in ("critical", "warning") if any(c["Status"] == s for c in checks)), "passing")
    told = ", ".join(failing) if failing else f"{len(checks)} passing"
    return of["ID"], on["Node"], f"{of['Address'] or on['Address']}:{of['Port']}", worst, told
