"""Sans-IO. From Consul's flags and keys to the command line of `weft dev`."""

import argparse
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from weft.errors import UsageError
from weft.hcl import Value

from ..consul_keys import TOKEN

_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "err": "error"}
_MODES = ("disabled", "permissive", "enforcing")
_RATE_MAX = 1e9
_UNSPECIFIED = ("0.0.0.0", "::")


class CannotDo(UsageError):
    """Expected. A setting that this launcher cannot follow; the message names it and the mend."""


class Launch(NamedTuple):
    """What to run."""

    arguments: list[str]  # of `weft`
    token: str  # of management; "" is none
    pid_file: str


def parser() -> argparse.ArgumentParser:
    """Flags as Consul has them: with one dash or two, and a value after a space or `=`."""
    made = argparse.ArgumentParser(prog="consul", allow_abbrev=False)
    agent = made.add_subparsers(dest="command", required=True)
    agent.add_parser("version", help="print the version")
    options = agent.add_parser("agent", help="run `weft dev` by Consul's flags", allow_abbrev=False)
    for flag in ("config-file", "config-dir"):
        options.add_argument(f"-{flag}", f"--{flag}", action="append", default=[])
    for flag in ("dev", "server", "bootstrap", "ui"):
        options.add_argument(f"-{flag}", f"--{flag}", action="store_true")
    for flag in ("node", "datacenter", "bind", "client", "data-dir", "pid-file", "log-level"):
        options.add_argument(f"-{flag}", f"--{flag}")
    for flag in ("http-port", "dns-port", "grpc-port", "grpc-tls-port", "bootstrap-expect"):
        options.add_argument(f"-{flag}", f"--{flag}", type=int)
    return made


_OF_FLAGS = {
    "node": "node_name",
    "datacenter": "datacenter",
    "bind": "bind_addr",
    "client": "client_addr",
    "data_dir": "data_dir",
    "pid_file": "pid_file",
    "log_level": "log_level",
    "http_port": "ports.http",
    "dns_port": "ports.dns",
    "grpc_port": "ports.grpc",
    "grpc_tls_port": "ports.grpc_tls",
    "bootstrap_expect": "bootstrap_expect",
}


def overlaid(config: Mapping[str, Value], given: argparse.Namespace) -> dict[str, Value]:
    """Files with what flags say on top."""
    flags = {key: getattr(given, flag) for flag, key in _OF_FLAGS.items()}
    return {**config, **{key: value for key, value in flags.items() if value is not None}}


def launch(config: Mapping[str, Value], *, dev: bool) -> Launch:
    """Raises CannotDo."""
    expect = _number(config, "bootstrap_expect", 1)
    if expect > 1:
        raise CannotDo(f"bootstrap_expect {expect}: this launcher runs one server; see weft server for more")
    for key in ("addresses.http", "client_addr", "bind_addr"):
        _check_loopback(key, _text(config, key))
    http, dns = _number(config, "ports.http", 8500), _number(config, "ports.dns", 8600)
    if http < 0:
        raise CannotDo("ports.http -1: the HTTP API cannot be turned off")
    arguments = [
        "dev",
        "--http-port",
        str(http),
        "--dns-port",
        str(dns),
        "--grpc-port",
        str(_grpc(config, dev)),
    ]
    for key, flag in (("datacenter", "--datacenter"), ("node_name", "--node-name")):
        if text := _text(config, key):
            arguments += [flag, text]
    if (folder := _text(config, "data_dir")) and not dev:
        arguments += ["--data-dir", folder]
    for key in ("enable_script_checks", "enable_local_script_checks"):
        arguments += ["--" + key.replace("_", "-")] if _flag(config, key) else []
    level = _text(config, "log_level").lower()
    arguments += ["--log-level", _LEVELS.get(level, "warning")]
    return Launch(arguments + _limits(config) + _acl(config), _text(config, TOKEN), _text(config, "pid_file"))


def _grpc(config: Mapping[str, Value], dev: bool) -> int:
    """Ours is always TLS. Consul has none unless it is asked for; ours then takes a free port."""
    default = 8502 if dev else 0
    port = _number(config, "ports.grpc_tls", -1)
    return max(0, port if port > 0 else _number(config, "ports.grpc", default))


def _limits(config: Mapping[str, Value]) -> list[str]:
    """Consul's -1 is no limit. Raises CannotDo."""
    arguments = []
    if mode := _text(config, "limits.request_limits.mode"):
        if mode not in _MODES:
            raise CannotDo(f"limits.request_limits.mode {mode[:50]!r}: use {', '.join(_MODES)}")
        arguments += ["--request-limits-mode", mode]
    for name in ("read_rate", "write_rate"):
        rate = config.get(f"limits.request_limits.{name}")
        if rate is None or rate == -1:
            continue
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= _RATE_MAX:
            raise CannotDo(f"limits.request_limits.{name} must be a number of requests a second")
        arguments += [f"--request-limits-{name.replace('_', '-')}", str(rate)]
    if most := _number(config, "limits.http_max_conns_per_client", 0):
        arguments += ["--http-max-conns-per-client", str(most)]
    return arguments


def _acl(config: Mapping[str, Value]) -> list[str]:
    """Where there is a list, intentions follow its default, as in Consul."""
    if not _flag(config, "acl.enabled"):
        return []
    policy = _text(config, "acl.default_policy") or "allow"
    if policy not in ("allow", "deny"):
        raise CannotDo(f"acl.default_policy {policy[:50]!r}: use allow or deny")
    listing = ["--acl-enable-key-list-policy"] if _flag(config, "acl.enable_key_list_policy") else []
    return ["--acl", "--acl-default-policy", policy, "--default-intention", policy, *listing]


def _check_loopback(key: str, address: str) -> None:
    if not address or address in _UNSPECIFIED or address == "localhost":
        return
    try:
        if ipaddress.ip_address(address).is_loopback:
            return
    except ValueError:
        pass
    raise CannotDo(f"{key} {address[:100]!r}: this launcher listens on 127.0.0.1 only")


def _text(config: Mapping[str, Value], key: str) -> str:
    value = config.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CannotDo(f"{key} must be a string")
    return value


def _number(config: Mapping[str, Value], key: str, default: int) -> int:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value <= 65535:
        raise CannotDo(f"{key} must be a number from -1 to 65535")
    return value


def _flag(config: Mapping[str, Value], key: str) -> bool:
    value = config.get(key)
    if not isinstance(value, bool | None):
        raise CannotDo(f"{key} must be true or false")
    return bool(value)
