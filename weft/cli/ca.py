"""`weft ca`: the CA's roots, its settings, and a rotation."""

import time
from typing import Any

import click

from .consul_api import Api, takes_address
from .tables import show, show_result, takes_format

CONFIGURATION = "/v1/connect/ca/configuration"
ROOTS = "/v1/connect/ca/roots"
SWITCH_TIMEOUT_S = 30.0  # a leader takes the step within a second; an election may come between
POLL_S = 0.1


@click.group()
def command() -> None:
    """The certificate authority: its roots, its settings, a new root."""


@command.command()
@takes_address
@takes_format
def roots(api: Api, form: str) -> None:
    """The roots that the mesh trusts; the active one signs."""
    found: dict[str, Any] = api.get(ROOTS)
    rows = [
        ("yes" if row["Active"] else "", row["ID"][:11], row["Name"], row["NotAfter"])
        for row in found["Roots"]
    ]
    show(form, found, ("Active", "ID", "Name", "NotAfter"), rows)


@command.command()
@click.option("--leaf-ttl", metavar="DURATION", help="How long a service's certificate is valid.")
@click.option("--root-ttl", metavar="DURATION", help="How long the next root is valid.")
@click.option("--csr-per-second", type=click.IntRange(0), metavar="N", help="Requests signed; 0 is no limit.")
@takes_address
@takes_format
def config(
    api: Api, form: str, leaf_ttl: str | None, root_ttl: str | None, csr_per_second: int | None
) -> None:
    """Show what the CA goes by; with options, change it first."""
    given = {"LeafCertTTL": leaf_ttl, "RootCertTTL": root_ttl, "CSRMaxPerSecond": csr_per_second}
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        api.call("PUT", CONFIGURATION, body={"Config": changes})
    found: dict[str, Any] = api.get(CONFIGURATION)
    rows = [*found["Config"].items(), *found["State"].items()]
    show(form, found, ("Setting", "Value"), rows)


@command.command()
@takes_address
@takes_format
def rotate(api: Api, form: str) -> None:
    """Replace the root. Nothing is interrupted.

    The new root is cross-signed by the old and signs at once; both are trusted until the last certificate
    of the old one has expired. The old root then goes by itself.
    """
    before = api.get(ROOTS)["ActiveRootID"]
    api.call("PUT", CONFIGURATION, {"rotate": "true"}, {})
    deadline = time.monotonic() + SWITCH_TIMEOUT_S
    while (active := api.get(ROOTS)["ActiveRootID"]) == before:
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"asked for, but not done within {SWITCH_TIMEOUT_S:g} s; see: weft ca config, and the log"
            )
        time.sleep(POLL_S)
    state = api.get(CONFIGURATION)["State"]
    text = f"Active root: {active}"
    if retires := state.get("OldRootRetiresAt"):
        text += f"\nThe old root ({before}) is trusted until {retires}"
    show_result(form, {"ActiveRootID": active, "OldRootID": before, "State": state}, text)
