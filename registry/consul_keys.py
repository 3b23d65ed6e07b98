"""Keys of Consul's configuration files, and what becomes of each.

A key that Consul knows and that means nothing here is named on one line and left aside; one that neither
knows is refused, as Consul does.
"""

from collections.abc import Iterable, Mapping

from weft.errors import UsageError
from weft.hcl import Value

TOKEN = "acl.tokens.initial_management"
TAKEN = frozenset(
    (
        "acl.enable_key_list_policy",
        *("acl.default_policy", "acl.enabled", TOKEN, "addresses.http", "bind_addr", "bootstrap"),
        *("bootstrap_expect", "client_addr", "data_dir", "datacenter", "enable_script_checks"),
        "enable_local_script_checks",
        *("limits.http_max_conns_per_client", "limits.request_limits.mode"),
        *("limits.request_limits.read_rate", "limits.request_limits.write_rate"),
        *("log_level", "node_name", "pid_file"),
        *("ports.dns", "ports.grpc", "ports.grpc_tls", "ports.http", "primary_datacenter", "server"),
    )
)
"""Dotted paths that change how we run."""

ALIASES = {
    "acl.tokens.master": TOKEN,
    "acl_datacenter": "primary_datacenter",
    "acl_default_policy": "acl.default_policy",
    "acl_master_token": TOKEN,
    "domain": "domain",
}
"""Older names."""

WITHOUT_EFFECT = (
    *("acl.down_policy", "acl.enable_token_persistence", "acl.policy_ttl", "acl.role_ttl", "acl.token_ttl"),
    *("acl.tokens", "addresses", "advertise_addr", "auto_encrypt", "autopilot", "ca_file", "ca_path"),
    *("cert_file", "check_update_interval", "connect", "disable_remote_exec", "disable_update_check"),
    *("dns_config", "domain", "enable_debug"),
    *("enable_syslog", "encrypt", "encrypt_verify_incoming", "encrypt_verify_outgoing", "experiments"),
    *("gossip_lan", "gossip_wan", "http_config", "key_file", "leave_on_terminate", "limits", "node_id"),
    *("node_meta", "peering", "performance", "ports", "raft_protocol", "raft_logstore", "reporting"),
    *("session_ttl_min", "skip_leave_on_interrupt", "telemetry", "tls", "ui", "ui_config", "use_streaming"),
    *("verify_incoming", "verify_incoming_https", "verify_incoming_rpc", "verify_outgoing"),
    "verify_server_hostname",
)
"""Roots and paths that Consul knows and that nothing here depends on."""


class UnknownKey(UsageError):
    """Expected. A key that Consul would refuse too."""


def flatten(found: Mapping[str, Value], prefix: str = "") -> dict[str, Value]:
    """Dotted path -> value. HCL's `a { b = 1 }` and JSON's `{"a": {"b": 1}}` are the same."""
    flat: dict[str, Value] = {}
    for key, value in found.items():
        path = prefix + key
        if isinstance(value, dict):
            flat |= flatten(value, path + ".")
        else:
            flat[ALIASES.get(path, path)] = value
    return flat


def sorted_out(flat: Mapping[str, Value], file: str) -> tuple[dict[str, Value], list[str]]:
    """What is taken, and the paths that have no effect. Raises UnknownKey with all that nobody knows."""
    taken = {path: value for path, value in flat.items() if path in TAKEN}
    rest = [path for path in flat if path not in TAKEN]
    unknown = sorted(path for path in rest if not _is_known(path))
    if unknown:
        raise UnknownKey(f"{file}: invalid config key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}")
    return taken, sorted(rest)


def _is_known(path: str) -> bool:
    return any(start in WITHOUT_EFFECT for start in _starts(path))


def _starts(path: str) -> Iterable[str]:
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))
