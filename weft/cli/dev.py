"""`weft dev`: the whole control plane in one process on loopback."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .audit import audit_options, audit_settings
from .config_file import config_file, definition_paths
from .dns import dns_options, dns_settings
from .limits import limit_options, limit_settings
from .names import datacenter_name
from .options import script_options, script_policy, seconds
from .patience import patience, patience_options

if TYPE_CHECKING:
    from registry.process import AclSettings, Registry

EPILOG = """
\b
Look around:
  weft catalog services
  weft intention create --deny web orders
  curl http://127.0.0.1:8500/v1/catalog/services

Without --data-dir everything ends with the process, identities included.
"""


def _ttl(_context: click.Context, _option: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    from ca.authority import LEAF_TTL_MAX, LEAF_TTL_MIN

    from ..durations import format_duration

    ttl = timedelta(seconds=seconds(text))
    if not LEAF_TTL_MIN <= ttl <= LEAF_TTL_MAX:
        least, most = (format_duration(limit.total_seconds()) for limit in (LEAF_TTL_MIN, LEAF_TTL_MAX))
        raise click.BadParameter(f"must be between {least} and {most}")
    return ttl


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "WEFT"})
@config_file()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep everything here, keys included (mode 0600). A write is answered once it is on disk.",
)
@click.option(
    "--http-port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="0 takes a free one."
)
@click.option(
    "--grpc-port", type=click.IntRange(0, 65535), default=8502, show_default=True, help="0 takes a free one."
)
@dns_options
@audit_options
@limit_options
@click.option("--datacenter", default="dc1", show_default=True, callback=datacenter_name, metavar="NAME")
@click.option(
    "--node-name",
    default="",
    callback=datacenter_name,
    metavar="NAME",
    help="This node.  [default: the host name]",
)
@click.option(
    "--leaf-ttl",
    callback=_ttl,
    metavar="DURATION",
    help="How long a service's certificate is valid.  [default: as the CA is configured, at first 72h]",
)
@click.option(
    "--ca-key-file",
    "operator_key_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    envvar="WEFT_CA_KEY_FILE",
    help="The operator's key, which seals the CA's key in the log (mode 0600).  "
    "[env: WEFT_CA_KEY_FILE, WEFT_CA_KEY; default: the systemd credential weft-ca-key, "
    "else one made in the data directory]",
)
@click.option(
    "--default-intention",
    type=click.Choice(["allow", "deny"]),
    default="allow",
    show_default=True,
    help="What is decided about a call that no intention names.",
)
@click.option("--acl", is_flag=True, help="Guard everything by tokens; make the first: weft acl bootstrap")
@click.option(
    "--acl-default-policy",
    type=click.Choice(["allow", "deny"]),
    default="deny",
    show_default=True,
    help="With --acl: what is decided where no rule of a token matches.",
)
@click.option(
    "--acl-enable-key-list-policy",
    "key_list_policy",
    is_flag=True,
    help="With --acl: reading many keys at once takes the policy `list` or `write` on their prefix.",
)
@click.option(
    "--management-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --acl: whoever has this token may do everything (mode 0600).",
)
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
    "--agent-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Where agents hold their leases (mTLS); 0 takes a free one.",
)
@patience_options
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write where to connect as JSON once everything listens: http, grpc, registry_ca_pem.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
)
def command(
    data_dir: Path | None,
    http_port: int,
    grpc_port: int,
    datacenter: str,
    node_name: str,
    leaf_ttl: timedelta | None,
    operator_key_file: Path | None,
    default_intention: str,
    acl: bool,
    acl_default_policy: str,
    key_list_policy: bool,
    management_token_file: Path | None,
    consensus: str,
    agent_port: int,
    ready_file: Path | None,
    log_level: str,
    **others: Any,
) -> None:
    """Run registry, CA and API on this machine, from nothing.

    Listens on 127.0.0.1 only. SIGINT and SIGTERM end it.
    """
    from registry.process import Registry, Settings

    from .. import logs
    from .running import serve

    if management_token_file and not acl:
        raise ConfigError("--management-token-file: give --acl too, without which no token is asked for")
    settings = Settings(
        data_dir=data_dir,
        http_port=http_port,
        grpc_port=grpc_port,
        datacenter=datacenter,
        node_name=node_name,
        leaf_ttl=leaf_ttl,
        default_allow=default_intention == "allow",
        operator_key_file=operator_key_file,
        dns=dns_settings(others),
        acl=_acl(acl_default_policy == "allow", management_token_file, key_list_policy) if acl else None,
        scripts=script_policy(others),
        consensus=consensus,
        audit=audit_settings(others, None),
        agent_port=agent_port,
        patience=patience(others),
        definitions=definition_paths(others),
        limits=limit_settings(others),
    )
    logs.configure(log_level)
    serve(lambda: Registry.start(settings), _tell, ready_file)


def _acl(default_allow: bool, token_file: Path | None, key_list_policy: bool) -> "AclSettings":
    from registry.identity.management import ManagementToken
    from registry.process import AclSettings

    from .consul_api import read_token

    management = ManagementToken(read_token(token_file)) if token_file else None
    return AclSettings(default_allow, management, key_list_policy)


def _tell(registry: "Registry") -> None:
    settings = registry.settings
    kept = f"data in {settings.data_dir}" if settings.data_dir else "nothing is kept"
    click.echo(
        f"weft dev is ready: HTTP http://{registry.http}, gRPC {registry.grpc} (TLS), "
        f"DNS {registry.dns or 'off'}, "
        f"datacenter {settings.datacenter}, node {registry.node}, {kept}"
    )
