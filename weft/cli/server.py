"""`weft server`: a member of a registry cluster of one, three or five."""

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .audit import audit_options, audit_settings
from .config_file import config_file, definition_paths
from .consul_api import read_token
from .dns import dns_options, dns_settings
from .limits import limit_options, limit_settings
from .names import datacenter_name
from .options import HOST, host, is_v6, port_option, script_options, script_policy
from .patience import patience, patience_options

if TYPE_CHECKING:
    from registry.process import AclSettings, ClusterSettings, Registry, Settings

SERVER_PORT = 8300
EPILOG = """
\b
Three servers, of which this is the first; the others name each other likewise:
  weft tls ca create
  weft tls cert create --address 10.0.0.1
  openssl rand -base64 32 > ca.key; uuidgen > management.token; chmod 600 ca.key management.token
  weft server --data-dir /var/lib/weft --bind 10.0.0.1 --bootstrap-expect 3
      --retry-join 10.0.0.2 --retry-join 10.0.0.3 --tls-ca weft-server-ca.pem
      --tls-cert dc1-server-0.pem --tls-key dc1-server-0-key.pem
      --ca-key-file ca.key --management-token-file management.token

Every server gets the same weft-server-ca.pem, ca.key and management.token, and a certificate of its own.
"""
_FILE = click.Path(path_type=Path)


def _addresses(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_address, texts)))


def _address(text: str) -> str:
    """`host`, `host:port` or `[v6]:port`, as `host:port`."""
    try:
        ip = ipaddress.ip_address(text.strip("[]"))
        return f"[{ip}]:{SERVER_PORT}" if ip.version == 6 else f"{ip}:{SERVER_PORT}"
    except ValueError:
        host, colon, port = text.rpartition(":") if ":" in text else (text, ":", str(SERVER_PORT))
    inner = host.strip("[]")
    if not (HOST.fullmatch(host) or is_v6(inner)) or not (port.isascii() and port.isdigit()):
        raise click.BadParameter(f"{text!r}: give host or host:port")
    if not 1 <= int(port) <= 65535:
        raise click.BadParameter(f"{text!r}: the port must be 1 to 65535")
    return f"{host}{colon}{port}"


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "WEFT"})
@config_file(frozenset(("management_token",)))
@click.option("--data-dir", type=_FILE, required=True, metavar="DIR", help="Log and snapshots, mode 0700.")
@click.option(
    "--bootstrap-expect",
    type=click.IntRange(0, 7),
    default=0,
    metavar="N",
    help="Begin a cluster once N new servers have found each other (1, 3 or 5).",
)
@click.option(
    "--retry-join",
    multiple=True,
    callback=_addresses,
    metavar="HOST[:PORT]",
    help=f"Another server; port {SERVER_PORT} if none is given. May be repeated; asked until it answers.",
)
@click.option("--datacenter", default="dc1", show_default=True, callback=datacenter_name, metavar="NAME")
@click.option(
    "--node-name", default="", callback=datacenter_name, metavar="NAME", help="[default: the host name]"
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    callback=host,
    metavar="HOST",
    help="Where the other servers are listened to.",
)
@click.option(
    "--advertise",
    default="",
    callback=host,
    metavar="HOST",
    help="Where all others reach this server.  [default: --bind]",
)
@click.option(
    "--client-address",
    default="",
    callback=host,
    metavar="HOST",
    help="Where sidecars (gRPC) and clients (HTTPS) are listened to.  [default: --bind]",
)
@port_option("--server-port", SERVER_PORT, "For other servers (mTLS)")
@port_option("--http-port", 8500, "Plaintext HTTP, on 127.0.0.1 only")
@port_option("--https-port", 8501, "The same API over TLS")
@port_option("--grpc-port", 8502, "For sidecars and registration (TLS)")
@port_option("--agent-port", 8301, "For agents: their leases and certificates (mTLS)")
@dns_options
@audit_options
@limit_options
@click.option(
    "--tls-ca", type=_FILE, required=True, metavar="FILE", help="Root of all servers' certificates."
)
@click.option(
    "--tls-cert", type=_FILE, required=True, metavar="FILE", help="This server's; `weft tls cert create`."
)
@click.option("--tls-key", type=_FILE, required=True, metavar="FILE", help="Its key, mode 0600.")
@click.option(
    "--ca-key-file",
    "operator_key_file",
    type=_FILE,
    metavar="FILE",
    envvar="WEFT_CA_KEY_FILE",
    help="The operator's key, which seals the CA's key in the log (mode 0600); the same on every server.  "
    "[env: WEFT_CA_KEY_FILE, WEFT_CA_KEY; or the systemd credential weft-ca-key]",
)
@click.option(
    "--management-token", metavar="TOKEN", help="Every user of this machine sees it: better a file."
)
@click.option(
    "--management-token-file",
    type=_FILE,
    metavar="FILE",
    help="Whoever has this token may do everything. Without one, make the first with: weft acl bootstrap",
)
@click.option(
    "--acl-default-policy",
    type=click.Choice(["allow", "deny"]),
    default="deny",
    show_default=True,
    help="What is decided where no rule of a token matches; the same on every server.",
)
@click.option(
    "--acl-enable-key-list-policy",
    "key_list_policy",
    is_flag=True,
    help="Reading many keys at once takes the policy `list` or `write` on their prefix.",
)
@click.option(
    "--default-intention",
    type=click.Choice(["allow", "deny"]),
    default="deny",
    show_default=True,
    help="What is decided about a call that no intention names; the same on every server.",
)
@patience_options
@script_options
@click.option(
    "--consensus",
    default="",
    metavar="URL",
    help="Keep the log in an existing etcd (3.4 or newer) instead of among the servers: "
    "etcds://[USER@]HOST:PORT[,HOST:PORT]/PREFIX?ca=FILE&cert=FILE&key=FILE&password-file=FILE, "
    "or etcd:// on this machine.",
)
@click.option(
    "--ready-file", type=_FILE, metavar="FILE", help="Write where to connect as JSON once it listens."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(**given: Any) -> None:
    """Run a registry server: one of a cluster that loses nothing while a majority lives.

    SIGINT and SIGTERM end it; it hands leadership over first.
    """
    # gRPC's C core writes failed connections to stderr on its own; we log them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    from registry.process import Registry

    from .. import logs
    from .running import serve

    settings = settings_of(given)
    logs.configure(given["log_level"])
    serve(lambda: Registry.start(settings), _tell, given["ready_file"])


def settings_of(given: dict[str, Any]) -> "Settings":
    """Raises ConfigError where options do not go together."""
    from registry.process import Settings

    return Settings(
        data_dir=given["data_dir"],
        http_port=given["http_port"],
        grpc_port=given["grpc_port"],
        datacenter=given["datacenter"],
        node_name=given["node_name"],
        leaf_ttl=None,
        default_allow=given["default_intention"] == "allow",
        operator_key_file=given["operator_key_file"],
        cluster=_cluster(given),
        agent_port=given["agent_port"],
        patience=patience(given),
        dns=dns_settings(given),
        acl=_acl(given),
        scripts=script_policy(given),
        consensus=given["consensus"],
        definitions=definition_paths(given),
        audit=audit_settings(given, given["data_dir"] / "audit.log"),
        limits=limit_settings(given),
    )


def _cluster(given: dict[str, Any]) -> "ClusterSettings":
    from registry.identity.server_files import ServerFiles
    from registry.process import ClusterSettings
    from registry.replica.peer_tls import server_name

    from ..clock import SystemClock

    return ClusterSettings(
        bind=given["bind"],
        server_port=given["server_port"],
        advertise=_advertised(given["bind"], given["advertise"]),
        client_address=given["client_address"] or given["bind"],
        https_port=given["https_port"],
        files=ServerFiles(
            given["tls_ca"],
            given["tls_cert"],
            given["tls_key"],
            server_name(given["datacenter"]),
            SystemClock(),
        ),
        bootstrap_expect=given["bootstrap_expect"],
        retry_join=given["retry_join"],
    )


def _advertised(bind: str, advertise: str) -> str:
    if not advertise and bind in ("0.0.0.0", "::"):
        raise ConfigError(
            f"--bind {bind} is every address of this machine: say with --advertise which one counts"
        )
    return advertise or bind


def _acl(given: dict[str, Any]) -> "AclSettings":
    from registry.identity.management import ManagementToken
    from registry.process import AclSettings

    token, file = given["management_token"], given["management_token_file"]
    if token and file:
        raise ConfigError("give one of --management-token-file and --management-token, not both")
    secret = read_token(file) if file else token
    return AclSettings(
        default_allow=given["acl_default_policy"] == "allow",
        management=ManagementToken(secret) if secret else None,
        key_list_policy=given["key_list_policy"],
    )


def _tell(registry: "Registry") -> None:
    settings = registry.settings
    click.echo(
        f"weft server listens: servers {registry.log.address}, HTTPS https://{registry.https}, HTTP "
        f"http://{registry.http}, gRPC {registry.grpc} (TLS), DNS {registry.dns or 'off'}, "
        f"agents {registry.agents}, datacenter {settings.datacenter}, node {registry.node}, "
        f"server {registry.log.server_id}, "
        f"data in {settings.data_dir}"
    )
