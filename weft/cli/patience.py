"""Options about agents that are not heard any more."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .options import seconds_between

if TYPE_CHECKING:
    from registry.liveness.limits import Patience

F = TypeVar("F", bound=Callable[..., Any])
LOST_AFTER_S_MIN, LOST_AFTER_S_MAX = 1.0, 3600.0
GONE_AFTER_S_MIN, GONE_AFTER_S_MAX = 10.0, 366 * 24 * 3600.0


def patience_options(function: F) -> F:
    """Adds `--agent-lost-after` and `--reconnect-timeout`."""
    options = (
        click.option(
            "--agent-lost-after",
            default="4s",
            show_default=True,
            callback=seconds_between(LOST_AFTER_S_MIN, LOST_AFTER_S_MAX),
            metavar="DURATION",
            help="A node whose agent no server hears for so long becomes critical; the same on every server.",
        ),
        click.option(
            "--reconnect-timeout",
            default="72h",
            show_default=True,
            callback=seconds_between(GONE_AFTER_S_MIN, GONE_AFTER_S_MAX),
            metavar="DURATION",
            help="A node that was critical for so long is deregistered; the same on every server.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def patience(given: Mapping[str, Any]) -> "Patience":
    """What the options say."""
    from registry.liveness.limits import Patience

    return Patience(given["agent_lost_after"], given["reconnect_timeout"])
