"""`weft operator`: what only who runs the cluster should do."""

from pathlib import Path
from typing import Any

import click

from .consul_api import Api, takes_address
from .tables import show, show_result, takes_format

CONFIGURATION = "/v1/operator/raft/configuration"
AUTOPILOT = "/v1/operator/autopilot/configuration"


@click.group()
def command() -> None:
    """Look after the cluster itself: its servers, who leads, who is gone."""


@command.group()
def raft() -> None:
    """Servers that vote on each write."""


@raft.command("list-peers")
@click.option("--stale", is_flag=True, help="Ask this server even when there is no leader.")
@takes_address
@takes_format
def list_peers(api: Api, form: str, stale: bool) -> None:
    """The servers of the cluster, who leads, and how far each one's log is."""
    found: dict[str, Any] = api.call("GET", CONFIGURATION, {"stale": ""} if stale else {})
    rows = [
        (
            row["Node"],
            row["ID"],
            row["Address"],
            "leader" if row["Leader"] else "follower",
            "true" if row["Voter"] else "false",
            row["LastIndex"] or "-",
        )
        for row in found["Servers"]
    ]
    show(form, found, ("Node", "ID", "Address", "State", "Voter", "Last index"), rows)


@raft.command("remove-peer")
@click.option("--id", "server_id", default="", metavar="ID", help="As list-peers shows it.")
@click.option("--address", default="", metavar="HOST:PORT", help="As list-peers shows it.")
@takes_address
@takes_format
def remove_peer(api: Api, form: str, server_id: str, address: str) -> None:
    """Remove a server, dead or alive, from the cluster. Its disk must be emptied before it may come back."""
    if bool(server_id) == bool(address):
        raise click.UsageError("give one of --id and --address")
    api.call("DELETE", "/v1/operator/raft/peer", {"id": server_id} if server_id else {"address": address})
    show_result(form, {"Removed": server_id or address}, f"Removed: {server_id or address}")


@raft.command("transfer-leader")
@click.option(
    "--id", "server_id", default="", metavar="ID", help="Who is to lead.  [default: whose log is longest]"
)
@takes_address
@takes_format
def transfer_leader(api: Api, form: str, server_id: str) -> None:
    """Hand leadership over, for example before the leader's machine is taken down."""
    query = {"id": server_id} if server_id else {}
    answer = api.call("POST", "/v1/operator/raft/transfer-leader", query)
    show_result(form, answer, "Leadership is handed over; see: weft operator raft list-peers")


@raft.command("recover")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Of this server, which must be stopped.",
)
@click.option("--yes", is_flag=True, help="Do it. Without this, only say where the server's log ends.")
def recover(data_dir: Path, yes: bool) -> None:
    """Go on with one server when a majority of the cluster is lost for ever.

    Stop all servers that are left, and run this on each of them without --yes: it shows where the log ends.
    Run it with --yes on the one with the highest term, and of those the highest index. Start that one: it is
    a cluster of one now, with everything that it knew. Empty the data directories of the others, and start
    them with --retry-join. What only the lost servers had is gone. The cluster gets a new id, so a lost
    server that turns up again is refused.
    """
    import os

    from registry.operator import recovery

    found = recovery.recover(data_dir, os.urandom) if yes else recovery.standing(data_dir)
    members = ", ".join(f"{it.id} ({it.address})" for it in found.members)
    click.echo(
        f"server {found.server_id}: log ends at term {found.term}, index {found.index}; "
        f"cluster {found.cluster_id} of {members or 'nobody'}"
    )
    click.echo("It is a cluster of one now: start it" if yes else "Nothing was changed; see --help")


@command.command("agents")
@takes_address
@takes_format
def agents(api: Api, form: str) -> None:
    """Agents that have joined, until when each is certified, and since when one is silent."""
    found = api.get("/v1/operator/agents")
    rows = [
        (row["Node"], row["Joined"], row["CertificateEnds"], row["SilentSince"] or "-", row["JoinToken"])
        for row in found
    ]
    show(form, found, ("Node", "Joined", "Certified until", "Silent since", "Join token"), rows)


@command.command("remove-agent")
@click.argument("node")
@takes_address
@takes_format
def remove_agent(api: Api, form: str, node: str) -> None:
    """End the membership of NODE's agent: its certificates, its token and the node go at once.

    Do so when a machine is lost to somebody else, or gone for good. To come back, it has to join anew.
    """
    api.call("DELETE", f"/v1/operator/agent/{node}")
    show_result(form, {"Node": node}, f"Removed: {node}")


@command.group()
def autopilot() -> None:
    """What the leader does by itself about servers that are gone."""


@autopilot.command("get-config")
@takes_address
@takes_format
def get_config(api: Api, form: str) -> None:
    """The rules in force."""
    found: dict[str, Any] = api.get(AUTOPILOT)
    rows = [(name, value) for name, value in found.items() if not name.endswith("Index")]
    show(form, found, ("Setting", "Value"), rows)


@autopilot.command("set-config")
@click.option("--cleanup-dead-servers", type=click.BOOL, metavar="true|false")
@click.option("--min-quorum", type=click.IntRange(0, 15), metavar="N")
@click.option("--last-contact-threshold", metavar="DURATION")
@click.option("--max-trailing-logs", type=click.IntRange(1), metavar="N")
@click.option("--server-stabilization-time", metavar="DURATION")
@takes_address
@takes_format
def set_config(api: Api, form: str, **given: Any) -> None:
    """Change the rules named by options, and keep the others."""
    changes = {
        "".join(part.capitalize() for part in name.split("_")): value
        for name, value in given.items()
        if value is not None
    }
    if not changes:
        raise click.UsageError("give at least one setting; see: weft operator autopilot get-config")
    found: dict[str, Any] = api.get(AUTOPILOT)
    query = {"cas": str(found["ModifyIndex"])}
    if not api.call("PUT", AUTOPILOT, query, found | changes):
        raise click.ClickException("somebody changed the rules at the same time: look, and try again")
    show_result(form, found | changes, "Configuration updated")


@autopilot.command("state")
@takes_address
@takes_format
def state(api: Api, form: str) -> None:
    """How each server is, and how many may still be lost."""
    found: dict[str, Any] = api.get("/v1/operator/autopilot/state")
    rows = [
        (
            row["Name"],
            row["Address"],
            row["Status"],
            "healthy" if row["Healthy"] else "unhealthy",
            row["LastContact"],
        )
        for row in found["Servers"].values()
    ]
    show(form, found, ("Node", "Address", "Role", "Health", "Last contact"), rows)
    if form == "table":
        click.echo(f"{found['FailureTolerance']} more may fail")
