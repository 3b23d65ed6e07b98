"""How the access control list changes: what the commands about it do."""

from dataclasses import replace
from typing import Any, TypeVar

from weft.pb.catalog.v1 import acl_pb2 as pb

from ..acl import check, limits
from ..acl.model import ANONYMOUS_ACCESSOR, AuthMethod, BindingRule, Policy, Role, Token
from ..acl.tables import BUILT_IN_POLICIES, AclTables
from ..acl.templates import GLOBAL_MANAGEMENT_ID
from ..errors import Conflict, InvalidCommand, NotFound
from . import acl_codec
from .draft import Draft
from .model import Indexes

R = TypeVar("R", Token, Policy, Role, AuthMethod, BindingRule)
_CREATE, _UPDATE = pb.SetAcl.MODE_CREATE, pb.SetAcl.MODE_UPDATE


def set_acl(draft: Draft, command: pb.SetAcl) -> str:
    """Rows that others refer to come first, so that one command may bring both."""
    tables, mode = draft.state.acl, command.mode
    for policy in map(acl_codec.policy_from_pb, command.policies):
        check.policy(policy, tables)
        tables = tables.with_policy(_next(draft, policy, tables.policy(policy.id), mode))
    for role in map(acl_codec.role_from_pb, command.roles):
        check.role(role, tables)
        tables = tables.with_role(_next(draft, role, tables.role(role.id), mode))
    for method in map(acl_codec.auth_method_from_pb, command.auth_methods):
        check.auth_method(method)
        tables = tables.with_auth_method(_next(draft, method, tables.auth_methods.get((method.name,)), mode))
    for rule in map(acl_codec.binding_rule_from_pb, command.binding_rules):
        check.binding_rule(rule, tables)
        tables = tables.with_binding_rule(_next(draft, rule, tables.binding_rules.get((rule.id,)), mode))
    for token in map(acl_codec.token_from_pb, command.tokens):
        tables = with_token(draft, tables, token, mode)
    _check_sizes(tables)
    draft.set_acl(tables)
    return ""


def with_token(draft: Draft, tables: AclTables, row: Token, mode: int = 0) -> AclTables:
    """The tables with the token. Raises InvalidCommand; Conflict and NotFound by the mode."""
    old = tables.tokens.get((row.accessor_id,))
    check.token(row, tables, draft.now_ms, is_new=old is None)
    if old:
        row = replace(
            row,
            created_ms=old.created_ms,
            **_unchangeable(row, old),
        )
    else:
        row = replace(row, created_ms=draft.now_ms)
    anonymous = row.accessor_id == ANONYMOUS_ACCESSOR
    return tables.with_token(_next(draft, row, old, 0 if anonymous else mode))


def _unchangeable(row: Token, old: Token) -> dict[str, Any]:
    """Raises InvalidCommand where a token would become another one."""
    if row.secret.code != old.secret.code:
        raise InvalidCommand("SecretID: cannot be changed; make another token")
    if row.local != old.local:
        raise InvalidCommand(f"Local: cannot be changed, it is {old.local}")
    if row.expires_ms != old.expires_ms:
        raise InvalidCommand("ExpirationTime: cannot be changed; make another token")
    if row.auth_method != old.auth_method:
        raise InvalidCommand("AuthMethod: cannot be changed")
    return {"secret": old.secret}


def _next(draft: Draft, row: R, old: R | None, mode: int) -> R:
    """The row as it will be. Raises Conflict and NotFound by the mode."""
    if old is not None and mode == _CREATE:
        raise Conflict(f"{type(row).__name__} already exists")
    if old is None and mode == _UPDATE:
        raise NotFound(f"{type(row).__name__} does not exist")
    create = old.indexes.create if old else 0
    return replace(row, indexes=Indexes(create or draft.index, draft.index))


def _check_sizes(tables: AclTables) -> None:
    if len(tables.tokens) > limits.TOKENS_MAX:
        raise InvalidCommand(f"there are {limits.TOKENS_MAX} tokens already; delete some")
    for table in (tables.policies, tables.roles, tables.auth_methods, tables.binding_rules):
        if len(table) > limits.ROWS_MAX:
            raise InvalidCommand(f"there are {limits.ROWS_MAX} of these already; delete some")


def delete_acl(draft: Draft, command: pb.DeleteAcl) -> str:
    """Deleting what is not there is no error."""
    tables, kind = draft.state.acl, command.WhichOneof("row")
    match kind:
        case "token":
            if command.token == ANONYMOUS_ACCESSOR:
                raise InvalidCommand("Delete operation not permitted on the anonymous token")
            changed = tables.without_token(command.token)
        case "policy":
            if command.policy in BUILT_IN_POLICIES:
                name = BUILT_IN_POLICIES[command.policy].name
                raise InvalidCommand(f"Delete operation not permitted on the builtin {name} policy")
            changed = tables.without_policy(command.policy)
        case "role":
            changed = tables.without_role(command.role)
        case "auth_method":
            present = (command.auth_method,) in tables.auth_methods
            changed = tables.without_auth_method(command.auth_method) if present else tables
        case "binding_rule":
            present = (command.binding_rule,) in tables.binding_rules
            changed = tables.without_binding_rule(command.binding_rule) if present else tables
        case _:
            raise InvalidCommand("row: name what to delete")
    if changed is tables:
        return ""
    draft.set_acl(changed)
    return "deleted"


def bootstrap_acl(draft: Draft, command: pb.BootstrapAcl) -> str:
    """The first management token, once."""
    tables = draft.state.acl
    done_at = tables.bootstrap_index
    if done_at and command.reset_index != done_at:
        raise Conflict(f"Permission denied: ACL bootstrap no longer allowed (reset index: {done_at})")
    row = acl_codec.token_from_pb(command.token)
    if GLOBAL_MANAGEMENT_ID not in row.grants.policies:
        raise InvalidCommand("Policies: the first token must be a management token")
    tables = with_token(draft, tables, row, _CREATE)
    draft.set_acl(replace(tables, bootstrap_index=draft.index))
    return ""
