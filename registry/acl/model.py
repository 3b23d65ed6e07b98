"""Rows of the access control list: what is known of tokens, and of what they lead to.

Rows are immutable and come from the log. A token's secret is not in them: only a code to find the row by, and
the secret sealed with the operator's key, since reads have to return it (see `secrets`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..catalog.model import NO_INDEXES, Indexes

ANONYMOUS_ACCESSOR = "00000000-0000-0000-0000-000000000002"
ANONYMOUS_SECRET = "anonymous"


class ServiceIdentity(NamedTuple):
    """Stands for the rules that a service and its sidecar need. No datacenters: in all."""

    service_name: str
    datacenters: tuple[str, ...] = ()


class NodeIdentity(NamedTuple):
    """Stands for the rules that a node's agent needs, in one datacenter."""

    node_name: str
    datacenter: str


class TemplatedPolicy(NamedTuple):
    """Stands for the rules of a template with a name filled in. No datacenters: in all."""

    template_name: str
    name: str = ""
    datacenters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grants:
    """What a token or a role leads to. Policies and roles by id; one that is gone grants nothing."""

    policies: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()  # of tokens only
    service_identities: tuple[ServiceIdentity, ...] = ()
    node_identities: tuple[NodeIdentity, ...] = ()
    templated_policies: tuple[TemplatedPolicy, ...] = ()


NO_GRANTS = Grants()


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A token's secret. `code` finds the row, the rest opens with the operator's key."""

    code: bytes = field(default=b"", repr=False)
    sealed_by: str = ""  # fingerprint of the operator key, of which the code's key is derived too
    nonce: bytes = b""
    ciphertext: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """Key: accessor id. `expires_ms` 0: never."""

    accessor_id: str
    secret: SealedSecret = SealedSecret()
    description: str = ""
    grants: Grants = NO_GRANTS
    local: bool = False
    auth_method: str = ""  # that a login made it by
    expires_ms: int = 0
    created_ms: int = 0
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class Policy:
    """Key: id. `rules` is text in the rule language, valid when it was written."""

    id: str
    name: str
    description: str = ""
    rules: str = ""
    datacenters: tuple[str, ...] = ()  # none: in force in all
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class Role:
    """Key: id."""

    id: str
    name: str
    description: str = ""
    grants: Grants = NO_GRANTS
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class AuthMethod:
    """Whom to believe about who somebody is. Key: name. `config_json` is of the type."""

    name: str
    type: str
    display_name: str = ""
    description: str = ""
    max_token_ttl_ms: int = 0  # 0: tokens of this method do not expire
    token_locality: str = ""  # "" or "local"
    config_json: bytes = b""
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class BindingRule:
    """What a login through a method gets, if the selector matches what is known of it. Key: id."""

    id: str
    auth_method: str
    bind_type: str
    bind_name: str
    description: str = ""
    selector: str = ""  # a filter expression over `value` and `list`; "" matches always
    bind_vars: Mapping[str, str] = field(default_factory=dict)  # of templated policies
    indexes: Indexes = NO_INDEXES
