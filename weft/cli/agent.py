"""`weft agent`: one per machine that is no registry server."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ..errors import ConfigError
from .config_file import config_file, definition_paths
from .consul_api import read_token
from .dns import agent_dns_options, dns_settings
from .names import datacenter_name
from .options import host_option, is_v6, port_option, script_options, script_policy, seconds_between

if TYPE_CHECKING:
    from registry.agent_process import AgentProcess, AgentSettings, HttpsSettings

HTTPS_PORT = 8501
SYNC_INTERVAL_S_MIN, SYNC_INTERVAL_S_MAX = 0.1, 24 * 3600.0
EPILOG = """
\b
On a machine with services, beside a cluster of three servers:
  weft join-token create --node vm-1 > vm-1.join
  weft agent --data-dir /var/lib/weft-agent --node-name vm-1 --join-token-file vm-1.join
      --server 10.0.0.1 --server 10.0.0.2 --server 10.0.0.3
  weft services register --name orders --port 9001
  curl http://127.0.0.1:8500/v1/health/service/orders

Registrations are kept in the data directory and told to the servers, again when they have forgotten them.
What is not about this machine is asked of a server that answers.
"""
_FILE = click.Path(path_type=Path)


def _servers(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_server, texts)))


def _server(text: str) -> str:
    """`host`, `host:port` or `[v6]:port`, as `host:port`; or `http://host:port` of this machine."""
    try:
        bare = text if "://" in text else f"https://{text if not is_v6(text) else f'[{text}]'}"
        parts = urlsplit(bare)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query:
        raise click.BadParameter(f"{text!r}: give host or host:port")
    shown = f"[{host}]" if ":" in host else host
    if parts.scheme == "https":
        return f"{shown}:{port or HTTPS_PORT}"
    if not _is_loopback(host):
        raise click.BadParameter(f"{text!r}: http:// is for a server on this machine; leave it out")
    return f"http://{shown}:{port or 8500}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "WEFT"})
@config_file()
@click.option(
    "--data-dir", type=_FILE, required=True, metavar="DIR", help="Registrations and tokens, mode 0700."
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    required=True,
    callback=_servers,
    metavar="HOST[:PORT]",
    help=f"A server's HTTPS listener; port {HTTPS_PORT} if none is given. May be repeated; asked until one "
    "answers. The others of the cluster are learnt from it.",
)
@click.option(
    "--datacenter",
    default="dc1",
    show_default=True,
    callback=datacenter_name,
    metavar="NAME",
    help="The servers'; their certificates bear it.",
)
@click.option(
    "--node-name",
    default="",
    callback=datacenter_name,
    metavar="NAME",
    help="This node; no other may have the name.  [default: the host name]",
)
@host_option(
    "--advertise", "Where others reach this machine.  [default: the address that it uses to reach a server]"
)
@host_option("--client-address", "Where DNS and HTTPS are listened to.  [default: 127.0.0.1]")
@port_option("--http-port", 8500, "Consul's HTTP API, on 127.0.0.1 only")
@port_option("--https-port", 8501, "The same API over TLS, where --tls-cert is given")
@agent_dns_options
@click.option(
    "--tls-ca",
    type=_FILE,
    metavar="FILE",
    help="Root of all servers' certificates (`weft tls ca create`).  [default: as told when joining]",
)
@click.option(
    "--join-token-file",
    type=_FILE,
    metavar="FILE",
    help="What `weft join-token create` has printed (mode 0600): the agent joins the cluster by it, once, "
    "and needs neither --tls-ca nor --agent-token-file then. The file may stay.",
)
@click.option("--join-token", metavar="TEXT", help="Every user of this machine sees it: better a file.")
@click.option(
    "--tls-cert",
    type=_FILE,
    metavar="FILE",
    help="This agent's, for the HTTPS listener (PEM).",
)
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key, mode 0600.")
@click.option(
    "--agent-token-file",
    type=_FILE,
    metavar="FILE",
    help="The token that the agent writes its node with (mode 0600): node write, and service read for all.",
)
@click.option(
    "--default-token-file",
    type=_FILE,
    metavar="FILE",
    help="The token of requests that bring none.  [default: the anonymous token]",
)
@click.option(
    "--definitions-token-file",
    type=_FILE,
    metavar="FILE",
    help="The token of services in definition files that name none.  [default: the default token]",
)
@script_options
@click.option(
    "--sync-interval",
    default="60s",
    show_default=True,
    callback=seconds_between(SYNC_INTERVAL_S_MIN, SYNC_INTERVAL_S_MAX),
    metavar="DURATION",
    help="How often to compare what the servers have with what is here; up to as much again by chance.",
)
@click.option(
    "--acl-down-policy",
    type=click.Choice(["allow", "deny", "extend-cache", "async-cache"]),
    default="extend-cache",
    show_default=True,
    help="Who may do what here while no server can be asked: everybody everything, nobody anything, or what "
    "a token was last known to allow. async-cache never waits for servers where a token is known.",
)
@click.option(
    "--ready-file", type=_FILE, metavar="FILE", help="Write where to connect as JSON once it listens."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(**given: Any) -> None:
    """Run the agent of one machine: it keeps and checks its services and asks servers for the rest.

    SIGINT and SIGTERM end it; what is registered stays, for a restart is no departure.
    """
    from registry.agent_process import AgentProcess

    from .. import logs
    from .running import serve

    settings = settings_of(given)
    logs.configure(given["log_level"])
    serve(lambda: AgentProcess.start(settings), _tell, given["ready_file"])


def settings_of(given: dict[str, Any]) -> "AgentSettings":
    """Raises ConfigError where options do not go together."""
    from registry.agent_process import AgentSettings
    from registry.client_agent.callers import DownPolicy
    from registry.client_agent.servers import Trust
    from registry.replica.peer_tls import server_name

    return AgentSettings(
        data_dir=given["data_dir"],
        servers=given["servers"],
        trust=Trust(given["tls_ca"], server_name(given["datacenter"])),
        datacenter=given["datacenter"],
        node_name=given["node_name"],
        advertise=given["advertise"],
        client_address=given["client_address"] or "127.0.0.1",
        http_port=given["http_port"],
        https=_https(given),
        dns=dns_settings(given),
        sync_interval_s=given["sync_interval"],
        scripts=script_policy(given),
        definitions=definition_paths(given),
        join_token=_join_token(given),
        down_policy=DownPolicy(given["acl_down_policy"]),
        tokens=_tokens(given),
    )


def _join_token(given: dict[str, Any]) -> str:
    """Raises ConfigError."""
    text, file = given["join_token"], given["join_token_file"]
    if text and file:
        raise ConfigError("give one of --join-token-file and --join-token, not both")
    return read_token(file) if file else text or ""


def _https(given: dict[str, Any]) -> "HttpsSettings | None":
    from registry.agent_process import HttpsSettings

    certificate, key = given["tls_cert"], given["tls_key"]
    if (certificate is None) != (key is None):
        raise ConfigError("--tls-cert and --tls-key go together: give both, or neither")
    return HttpsSettings(given["https_port"], certificate, key) if certificate else None


def _tokens(given: dict[str, Any]) -> dict[str, str]:
    files = {
        "agent": given["agent_token_file"],
        "default": given["default_token_file"],
        "config_file_service_registration": given["definitions_token_file"],
    }
    return {kind: read_token(file) for kind, file in files.items() if file}


def _tell(process: "AgentProcess") -> None:
    settings = process.settings
    https, dns = process.https or "off", process.dns or "off"
    click.echo(
        f"weft agent listens: HTTP http://{process.http}, HTTPS {https}, DNS {dns}, "
        f"datacenter {settings.datacenter}, node {process.node.name} ({process.node.address}), "
        f"servers {', '.join(settings.servers)}, data in {settings.data_dir}"
    )
