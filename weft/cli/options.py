"""Options that several commands share: hosts and ports."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC

if TYPE_CHECKING:
    from registry.agent.scripts import ScriptPolicy

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


def script_options(command: FC) -> FC:
    """Whether checks may run programs; `script_policy` reads what was given."""
    anywhere = click.option(
        "--enable-script-checks",
        is_flag=True,
        help="Let checks run programs on this machine (Args). Whoever may register a service then runs what "
        "it likes with the rights of this process: use it with ACLs, or not at all.",
    )
    local = click.option(
        "--enable-local-script-checks",
        is_flag=True,
        help="Let checks run programs where a definition file of this machine says so, and not the API.",
    )
    return anywhere(local(command))


def script_policy(given: Mapping[str, Any]) -> "ScriptPolicy":
    from registry.agent.scripts import ScriptPolicy

    if given["enable_script_checks"]:
        return ScriptPolicy.ALL
    return ScriptPolicy.LOCAL if given["enable_local_script_checks"] else ScriptPolicy.OFF
