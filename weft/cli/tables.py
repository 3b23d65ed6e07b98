"""What commands print: a table for people, JSON for programs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import orjson

F = TypeVar("F", bound=Callable[..., Any])


def takes_format(function: F) -> F:
    """Adds `--format table|json`."""
    return click.option(
        "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
    )(function)


def show_result(form: str, document: object, text: str) -> None:
    """What a command did: a sentence for people, the document for programs."""
    if form == "json":
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(text)


def show(form: str, document: object, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints the document as JSON, or the rows under their columns."""
    if form == "json":
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    if not rows:
        click.echo(f"nothing ({', '.join(columns).lower()})", err=True)
        return
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[n]) for line in (list(columns), *texts)) for n in range(len(columns))]
    for line in (list(columns), *texts):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
