"""Options that several commands share: hosts and ports."""

import ipaddress
import re
from collections.abc import Callable

import click
from click.decorators import FC

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def host(_context: click.Context, _option: click.Parameter, text: str) -> str:
    """The callback of an option that names a host: an IP address or a DNS name, without a port."""
    try:
        return text and str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        if not HOST.fullmatch(text):
            raise click.BadParameter("give an IP address or a DNS name, without a port") from None
        return text


def host_option(flag: str, what: str) -> Callable[[FC], FC]:
    return click.option(flag, default="", callback=host, metavar="HOST", help=what)


def port_option(flag: str, default: int, what: str) -> Callable[[FC], FC]:
    return click.option(
        flag,
        type=click.IntRange(0, 65535),
        default=default,
        show_default=True,
        help=f"{what}; 0 takes a free one.",
    )
