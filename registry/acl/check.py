"""What a row of the access control list must look like. Every refusal names the field and the mend."""

import re
from collections.abc import Iterable

from ..catalog.rules import refuse_unless, text, uuid
from . import limits
from .model import (
    ANONYMOUS_ACCESSOR,
    AuthMethod,
    BindingRule,
    Grants,
    Policy,
    Role,
    Token,
)
from .rules import parse_rules
from .secrets import CODE_BYTES, SEALED_BYTES_MAX
from .tables import BUILT_IN_POLICIES, AclTables
from .templates import TEMPLATES, node_identity, service_identity, templated_policy

_NAME = re.compile(rf"[A-Za-z0-9\-_]{{1,{limits.NAME_CHARS_MAX}}}")
_DATACENTER = re.compile(r"[A-Za-z0-9._\-]{1,128}")
METHOD_TYPES = ("jwt",)
BIND_TYPES = ("service", "node", "role", "policy", "templated-policy")


def token(row: Token, tables: AclTables, now_ms: int, *, is_new: bool) -> None:
    """`tables` are those it is to be put into. Raises InvalidCommand."""
    uuid("AccessorID", row.accessor_id)
    text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    if row.accessor_id == ANONYMOUS_ACCESSOR:
        refuse_unless(
            not row.secret.code and not row.expires_ms, "the anonymous token has no secret of its own"
        )
    else:
        refuse_unless(
            len(row.secret.code) == CODE_BYTES and 0 < len(row.secret.ciphertext) <= SEALED_BYTES_MAX,
            "SecretID: is missing",
        )
        other = tables.tokens_by_code.get((row.secret.code,))
        refuse_unless(
            other is None or other.accessor_id == row.accessor_id, "SecretID: another token has this secret"
        )
    if is_new and row.expires_ms:
        left_ms = row.expires_ms - now_ms
        refuse_unless(
            left_ms + 1000 >= limits.TOKEN_TTL_MS_MIN and left_ms <= limits.TOKEN_TTL_MS_MAX + 1000,
            "ExpirationTime: use 1m to 24h from now",
        )
    refuse_unless(
        not row.auth_method or (row.auth_method,) in tables.auth_methods,
        f"AuthMethod: {row.auth_method[:64]!r} does not exist",
    )
    _grants(row.grants, tables)


def policy(row: Policy, tables: AclTables) -> None:
    """Raises InvalidCommand, InvalidRules."""
    uuid("ID", row.id)
    refuse_unless(row.id not in BUILT_IN_POLICIES, "ID: the built-in policies cannot be changed")
    _name("Policy name", row.name)
    other = tables.policy_named(row.name)
    refuse_unless(
        other is None or other.id == row.id, f'Invalid Policy: A policy with name "{row.name}" already exists'
    )
    text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    _datacenters("Datacenters", row.datacenters)
    parse_rules(row.rules)


def role(row: Role, tables: AclTables) -> None:
    """Raises InvalidCommand."""
    uuid("ID", row.id)
    _name("Role name", row.name)
    other = tables.role_named(row.name)
    refuse_unless(
        other is None or other.id == row.id, f'Invalid Role: A role with name "{row.name}" already exists'
    )
    text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    refuse_unless(not row.grants.roles, "Roles: a role has no roles")
    _grants(row.grants, tables)


def auth_method(row: AuthMethod) -> None:
    """What `config_json` says is checked where it is read. Raises InvalidCommand."""
    _name("Auth method name", row.name)
    refuse_unless(
        row.type in METHOD_TYPES, f"Type: {row.type[:40]!r} is not supported; use {' or '.join(METHOD_TYPES)}"
    )
    text("DisplayName", row.display_name, limits.DESCRIPTION_CHARS_MAX)
    text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    refuse_unless(
        row.max_token_ttl_ms == 0
        or limits.TOKEN_TTL_MS_MIN <= row.max_token_ttl_ms <= limits.TOKEN_TTL_MS_MAX,
        "MaxTokenTTL: use 1m to 24h, or 0 for tokens that do not expire",
    )
    refuse_unless(
        row.token_locality in ("", "local"), 'TokenLocality: use "local"; there is no "global" here'
    )
    refuse_unless(len(row.config_json) <= limits.CONFIG_BYTES_MAX, "Config: is too large")


def binding_rule(row: BindingRule, tables: AclTables) -> None:
    """Raises InvalidCommand."""
    uuid("ID", row.id)
    refuse_unless(
        (row.auth_method,) in tables.auth_methods, f"AuthMethod: {row.auth_method[:64]!r} does not exist"
    )
    refuse_unless(
        row.bind_type in BIND_TYPES, f"BindType: {row.bind_type[:40]!r}: use {', '.join(BIND_TYPES)}"
    )
    refuse_unless(row.bind_name, "BindName: is missing")
    text("BindName", row.bind_name, limits.BIND_NAME_CHARS_MAX)
    text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    text("Selector", row.selector, limits.SELECTOR_CHARS_MAX)
    if row.bind_type == "templated-policy":
        refuse_unless(row.bind_name in TEMPLATES, f"BindName: use one of {', '.join(TEMPLATES)}")
    else:
        refuse_unless(not row.bind_vars, "BindVars: are of templated policies only")
    refuse_unless(
        len(row.bind_vars) <= limits.BIND_VARS_MAX
        and all(len(key) + len(value) <= limits.BIND_NAME_CHARS_MAX for key, value in row.bind_vars.items()),
        "BindVars: too many, or too long",
    )


def _grants(row: Grants, tables: AclTables) -> None:
    links = (
        ("Policies", row.policies),
        ("Roles", row.roles),
        ("ServiceIdentities", row.service_identities),
        ("NodeIdentities", row.node_identities),
        ("TemplatedPolicies", row.templated_policies),
    )
    for field, found in links:
        refuse_unless(len(found) <= limits.LINKS_MAX, f"{field}: use at most {limits.LINKS_MAX}")
    for policy_id in row.policies:
        if tables.policy(policy_id) is None:
            refuse_unless(False, f"Policies: cannot find policy {policy_id[:64]!r}")
    for role_id in row.roles:
        if tables.role(role_id) is None:
            refuse_unless(False, f"Roles: cannot find role {role_id[:64]!r}")
    for service in row.service_identities:
        service_identity(service.service_name)
        _datacenters("ServiceIdentities.Datacenters", service.datacenters)
    for node in row.node_identities:
        node_identity(node.node_name)
        _datacenters("NodeIdentities.Datacenter", (node.datacenter,))
    for templated in row.templated_policies:
        templated_policy(templated.template_name, templated.name)
        _datacenters("TemplatedPolicies.Datacenters", templated.datacenters)


def _name(field: str, value: str) -> None:
    refuse_unless(
        _NAME.fullmatch(value),
        f"{field} {value[:64]!r}: use 1 to {limits.NAME_CHARS_MAX} letters, digits, '-' and '_'",
    )


def _datacenters(field: str, names: Iterable[str]) -> None:
    for name in names:
        refuse_unless(_DATACENTER.fullmatch(name), f"{field} {name[:64]!r}: is no name of a datacenter")
