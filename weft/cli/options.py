"""Options that several commands share, and how what they are given is read."""

import ipaddress
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC

from ..durations import InvalidDuration, format_duration, parse_duration_s
from ..files import read_bounded

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


def is_v6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def pair(text: str, option: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """What stands before and after the first `=`. Raises BadParameter."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.BadParameter(f"{text[:80]!r}: write {form}", param_hint=option)
    return name.strip(), value


def seconds(text: str, option: str | None = None) -> float:
    """A duration as 1m30s. Raises BadParameter."""
    try:
        return parse_duration_s(text)
    except InvalidDuration as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def seconds_between(least: float, most: float) -> Callable[[click.Context, click.Parameter, str], float]:
    """The callback of an option that is a duration."""

    def parse(_context: click.Context, _option: click.Parameter, text: str) -> float:
        found_s = seconds(text)
        if not least <= found_s <= most:
            raise click.BadParameter(f"must be between {format_duration(least)} and {format_duration(most)}")
        return found_s

    return parse


def read_given(name: str, option: str, bytes_max: int) -> bytes:
    """The content of a file, or of standard input where it is called `-`; `option` is "" for an argument.
    Raises ConfigError as `read_bounded`."""
    source = sys.stdin.buffer if name == "-" else Path(name)
    return read_bounded(source, f"{option} {name}".strip(), bytes_max)


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
