"""`weft graph`: who calls whom, how often, and how well."""

import time
from typing import Any

import click
import orjson

from .consul_api import Api, takes_address

LOOK_S = 2.0  # between two pictures of --watch


@click.command()
@click.argument("service", default="")
@click.option(
    "--window", default="30s", show_default=True, metavar="DURATION", help="How far back, 1s to 60s."
)
@click.option("--watch", is_flag=True, help="Draw it again every two seconds, until Ctrl-C.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["graph", "json", "dot"]),
    default="graph",
    show_default=True,
    help="dot is Graphviz' language.",
)
@takes_address
def command(api: Api, service: str, window: str, watch: bool, form: str) -> None:
    """Show the calls between services as the sidecars measure them, or only those of SERVICE.

    Each line under a caller is a destination: requests a second, the share of them that failed (HTTP 5xx;
    gRPC UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS; cut off), and how long
    the faster 50 % and 99 % took. Lines with ∙ are the subsets that a split divides calls among.

    \b
    weft graph
    weft graph orders --window 10s --watch
    weft graph --format dot | dot -Tsvg > mesh.svg
    """
    query = {"window": window} | ({"service": service} if service else {})

    def look() -> dict[str, Any]:
        found: dict[str, Any] = api.call("GET", "/v1/mesh/graph", query)
        return found

    if watch and form != "graph":
        raise click.UsageError("--watch draws the picture only; leave out --format")
    if form == "json":
        click.echo(orjson.dumps(look(), option=orjson.OPT_INDENT_2).decode())
    elif form == "dot":
        from .graph_view import dot

        click.echo(dot(look()))
    else:
        _draw(look, watch)


def _draw(look: Any, watch: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from .graph_view import picture

    console = Console()
    if not watch:
        console.print(picture(look()))
        return
    with Live(picture(look()), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(LOOK_S)
            live.update(picture(look()), refresh=True)
