"""`weft join-token`: what a new machine's agent joins the cluster by."""

from typing import Any

import click

from .consul_api import Api, takes_address
from .tables import show, show_result, takes_format


@click.group()
def command() -> None:
    """Let agents join. Each token works once, for one node, and ends by itself."""


@command.command()
@click.option("--node", default="", metavar="NAME", help="Who may join by it.")
@click.option(
    "--node-prefix", default="", metavar="PREFIX", help="Or any one node whose name begins so, and is new."
)
@click.option("--ttl", default="1h", show_default=True, metavar="DURATION", help="From 1s to 720h.")
@click.option("--description", default="", metavar="TEXT")
@takes_address
@takes_format
def create(api: Api, form: str, node: str, node_prefix: str, ttl: str, description: str) -> None:
    """Make a join token, and print it: the only time that it is shown.

    \b
      weft join-token create --node vm-1 > vm-1.join; chmod 600 vm-1.join

    Bring the file to that machine. The token carries a fingerprint of the servers' root: the agent says its
    secret to no other server.
    """
    if bool(node) == bool(node_prefix):
        raise click.UsageError("give one of --node and --node-prefix")
    body = {"Node": node, "NodePrefix": node_prefix, "ExpirationTTL": ttl, "Description": description}
    made = api.call("PUT", "/v1/join-token", None, {key: value for key, value in body.items() if value})
    if form == "json":
        show(form, made, (), ())
        return
    click.echo(made["Token"])
    click.echo(f"Join token {made['ID']} for {_whom(made)}, once, until {made['ExpirationTime']}.", err=True)


@command.command("list")
@takes_address
@takes_format
def list_(api: Api, form: str) -> None:
    """Tokens that have not ended, the used ones too."""
    rows = api.get("/v1/join-tokens")
    shown = [
        (row["ID"], _whom(row), row["ExpirationTime"], row["RedeemedBy"] or "-", row["Description"] or "-")
        for row in rows
    ]
    show(form, rows, ("ID", "FOR", "ENDS", "USED BY", "DESCRIPTION"), shown)


@command.command()
@click.argument("token_id", metavar="ID")
@takes_address
@takes_format
def revoke(api: Api, form: str, token_id: str) -> None:
    """End the token ID. An agent that has joined by it stays: see weft operator remove-agent."""
    api.call("DELETE", f"/v1/join-token/{token_id}")
    show_result(form, {"ID": token_id}, f"Revoked: {token_id}")


def _whom(row: dict[str, Any]) -> str:
    return f"node {row['Node']}" if row["Node"] else f"a node {row['NodePrefix']}*"
