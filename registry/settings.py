"""How a registry process runs: what its command line, or a test, decides."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from .agent.definitions import NO_DEFINITIONS, DefinitionPaths
from .agent.scripts import ScriptPolicy
from .audit.settings import AuditSettings
from .dns.settings import DnsSettings
from .identity.management import ManagementToken
from .identity.server_files import ServerFiles
from .limits.settings import LimitSettings
from .liveness.limits import PATIENCE_DEFAULT, Patience


@dataclass(frozen=True, slots=True)
class AclSettings:
    """Access control: what is decided where no rule matches, and the operator's own token, if any."""

    default_allow: bool = False
    management: ManagementToken | None = None
    key_list_policy: bool = False  # reading many keys at once takes the right to list them


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What a member of a cluster has besides; hosts are without port, ports may be 0 for free ones."""

    bind: str  # where the other servers are listened to
    server_port: int
    advertise: str  # where all others reach this machine
    client_address: str  # where sidecars (gRPC) and clients (HTTPS) are listened to
    https_port: int
    files: ServerFiles
    bootstrap_expect: int
    retry_join: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a registry process runs. Ports may be 0 for free ones."""

    data_dir: Path | None
    http_port: int
    grpc_port: int
    datacenter: str
    node_name: str  # "" keeps the data directory's, or takes the machine's
    leaf_ttl: timedelta | None  # None keeps what the CA goes by
    default_allow: bool
    operator_key_file: Path | None = None  # what seals the CA's key; None: see ca/operator_key.py
    cluster: ClusterSettings | None = None  # None: everything on this machine, on loopback
    acl: AclSettings | None = None  # None: everybody may do everything
    dns: DnsSettings | None = None  # None: DNS is not answered
    scripts: ScriptPolicy = ScriptPolicy.OFF  # whether checks may run programs on this machine
    agent_port: int = 0  # where agents are listened to
    patience: Patience = PATIENCE_DEFAULT  # with agents that are not heard
    consensus: str = ""  # URL of the etcd that keeps the log (replica/etcd/address.py); "": Raft
    audit: AuditSettings | None = None  # None: nobody writes down who did what
    definitions: DefinitionPaths = NO_DEFINITIONS  # services and checks of this machine
    limits: LimitSettings = field(default_factory=LimitSettings)
