"""Bodies of requests about the access control list. What reads answer, a client may send back."""

import uuid
from collections.abc import Callable, Iterable

import orjson

from ...acl.limits import CONFIG_BYTES_MAX
from ...acl.model import (
    AuthMethod,
    BindingRule,
    Grants,
    NodeIdentity,
    Policy,
    Role,
    SealedSecret,
    ServiceIdentity,
    TemplatedPolicy,
    Token,
)
from ...acl.tables import AclTables
from ...agent.errors import Undecodable
from ...agent.fields import Fields
from ..errors import BadRequest

NewId = Callable[[], str]
_ECHOED = ("Hash", "CreateIndex", "ModifyIndex", "CreateTime", "Namespace", "Partition", "Legacy")


def echoed(fields: Fields) -> None:
    """Takes what the registry decides."""
    for name in _ECHOED:
        fields.raw(name)


def token(fields: Fields, tables: AclTables, now_ms: int) -> tuple[Token, str]:
    """The token as it is asked for, without accessor and seal, and its SecretID ("": make one)."""
    echoed(fields)
    accessor, secret = fields.text("AccessorID"), fields.text("SecretID")
    ttl_s = fields.duration_s("ExpirationTTL")
    expires_ms = _time_ms(fields, "ExpirationTime")
    if ttl_s and expires_ms:
        raise BadRequest("Token Expiration TTL and Expiration Time cannot both be set")
    row = Token(
        accessor_id=accessor,
        secret=SealedSecret(),
        description=fields.text("Description"),
        grants=grants(fields, tables),
        local=fields.boolean("Local"),
        auth_method=fields.text("AuthMethod"),
        expires_ms=now_ms + round(ttl_s * 1000) if ttl_s else expires_ms,
    )
    return row, secret


def _time_ms(fields: Fields, name: str) -> int:
    from datetime import datetime

    text = fields.text(name)
    if not text or text.startswith("0001-01-01"):  # Go's zero time
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise Undecodable(f"{name} must be a time such as 2026-01-31T12:00:00Z") from None


def policy(fields: Fields) -> Policy:
    echoed(fields)
    return Policy(
        id=fields.text("ID"),
        name=fields.text("Name"),
        description=fields.text("Description"),
        rules=_long_text(fields, "Rules"),
        datacenters=fields.texts("Datacenters"),
    )


def _long_text(fields: Fields, name: str) -> str:
    """Its bound is that of what reads it."""
    value = fields.raw(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Undecodable(f"{name} must be a string")
    return value


def role(fields: Fields, tables: AclTables) -> Role:
    echoed(fields)
    return Role(
        id=fields.text("ID"),
        name=fields.text("Name"),
        description=fields.text("Description"),
        grants=grants(fields, tables),
    )


def auth_method(fields: Fields) -> AuthMethod:
    echoed(fields)
    config = orjson.dumps(fields.mapping("Config"), option=orjson.OPT_SORT_KEYS)
    if len(config) > CONFIG_BYTES_MAX:
        raise BadRequest(f"Config: is over {CONFIG_BYTES_MAX} bytes")
    fields.raw("NamespaceRules")
    return AuthMethod(
        name=fields.text("Name"),
        type=fields.text("Type"),
        display_name=fields.text("DisplayName"),
        description=fields.text("Description"),
        max_token_ttl_ms=round(fields.duration_s("MaxTokenTTL") * 1000),
        token_locality=fields.text("TokenLocality"),
        config_json=config,
    )


def binding_rule(fields: Fields) -> BindingRule:
    echoed(fields)
    return BindingRule(
        id=fields.text("ID"),
        auth_method=fields.text("AuthMethod"),
        bind_type=fields.text("BindType"),
        bind_name=fields.text("BindName"),
        description=fields.text("Description"),
        selector=fields.text("Selector"),
        bind_vars=fields.text_mapping("BindVars"),
    )


def grants(fields: Fields, tables: AclTables) -> Grants:
    """Links by ID or by name. Raises BadRequest where one leads nowhere."""
    links = fields.children("Policies", _link)
    roles = fields.children("Roles", _link)
    return Grants(
        policies=_unique(_policy_id(it, tables) for it in links),
        roles=_unique(_role_id(it, tables) for it in roles),
        service_identities=tuple(dict.fromkeys(fields.children("ServiceIdentities", _service_identity))),
        node_identities=tuple(dict.fromkeys(fields.children("NodeIdentities", _node_identity))),
        templated_policies=tuple(dict.fromkeys(fields.children("TemplatedPolicies", _templated_policy))),
    )


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))


def _link(fields: Fields) -> tuple[str, str]:
    return fields.text("ID"), fields.text("Name")


def _policy_id(link: tuple[str, str], tables: AclTables) -> str:
    policy_id, name = link
    found = tables.policy(policy_id) if policy_id else tables.policy_named(name)
    if found is None:
        raise BadRequest(f"Cannot find policy {(policy_id or name)[:128]!r}")
    return found.id


def _role_id(link: tuple[str, str], tables: AclTables) -> str:
    role_id, name = link
    found = tables.role(role_id) if role_id else tables.role_named(name)
    if found is None:
        raise BadRequest(f"Cannot find role {(role_id or name)[:128]!r}")
    return found.id


def _service_identity(fields: Fields) -> ServiceIdentity:
    return ServiceIdentity(fields.text("ServiceName"), fields.texts("Datacenters"))


def _node_identity(fields: Fields) -> NodeIdentity:
    return NodeIdentity(fields.text("NodeName"), fields.text("Datacenter"))


def _templated_policy(fields: Fields) -> TemplatedPolicy:
    name = fields.text("TemplateName")
    fields.raw("TemplateID")
    given = fields.child("TemplateVariables", lambda inner: inner.text("Name")) or ""
    return TemplatedPolicy(name, given, fields.texts("Datacenters"))


def new_id(entropy: bytes) -> str:
    """A UUID of 16 random bytes."""
    return str(uuid.UUID(bytes=entropy, version=4))
