"""The options of `weft dev` and `weft server` about how much one caller may have."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC

if TYPE_CHECKING:
    from registry.limits.settings import LimitSettings

RATE_MAX = 1e9
NAMES = {
    "read": "Reads a second that this server takes; 0 is no limit.",
    "write": "Writes a second that this server takes; 0 is no limit.",
    "source-read": "Reads a second from one address; 0 is no limit.",
    "source-write": "Writes a second from one address; 0 is no limit.",
}


def _count(flag: str, default: int, text: str) -> Callable[[FC], FC]:
    return click.option(
        flag, type=click.IntRange(1, 1_000_000), default=default, show_default=True, help=text, metavar="N"
    )


_OPTIONS = (
    click.option(
        "--request-limits-mode",
        type=click.Choice(["disabled", "permissive", "enforcing"]),
        default="disabled",
        show_default=True,
        help="Requests over the rates below: are not looked for, are counted, or are refused (429).",
    ),
    *(
        click.option(
            f"--request-limits-{name}-rate",
            type=click.FloatRange(0, RATE_MAX),
            default=0.0,
            metavar="RATE",
            help=text,
        )
        for name, text in NAMES.items()
    ),
    _count("--http-max-conns-per-client", 4096, "HTTP connections from one address at once."),
    _count("--max-watches-per-client", 4096, "Parked blocking queries from one address at once."),
    _count("--max-watches-per-token", 8192, "Parked blocking queries of one token at once."),
)


def limit_options(command: FC) -> FC:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def limit_settings(given: Mapping[str, Any]) -> "LimitSettings":
    from registry.limits.settings import UNLIMITED, LimitSettings, Mode, RequestRates

    rates = [given[f"request_limits_{name.replace('-', '_')}_rate"] or UNLIMITED for name in NAMES]
    return LimitSettings(
        rates=RequestRates(Mode(given["request_limits_mode"]), *rates),
        http_connections_per_source=given["http_max_conns_per_client"],
        watches_per_token=given["max_watches_per_token"],
        watches_per_source=given["max_watches_per_client"],
    )
