"""Builders of commands about the access control list."""

from collections.abc import Iterable
from enum import Enum

from weft.pb.catalog.v1 import acl_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from ..acl.model import AuthMethod, BindingRule, Policy, Role, Token
from . import acl_codec
from .commands import ACL_LEVEL, Stamp


class Mode(Enum):
    """What must be true of the rows that are set."""

    ANY = pb.SetAcl.MODE_UNSPECIFIED
    CREATE = pb.SetAcl.MODE_CREATE
    UPDATE = pb.SetAcl.MODE_UPDATE


def _base(stamp: Stamp) -> Command:
    return Command(version=ACL_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)


def set_acl(
    stamp: Stamp,
    rows: Iterable[Token | Policy | Role | AuthMethod | BindingRule],
    mode: Mode = Mode.ANY,
) -> Command:
    """Creates or replaces rows, all or nothing. Conflict or NotFound by the mode."""
    command = _base(stamp)
    body = command.set_acl
    body.mode = mode.value
    for row in rows:
        match row:
            case Token():
                body.tokens.append(acl_codec.token_to_pb(row))
            case Policy():
                body.policies.append(acl_codec.policy_to_pb(row))
            case Role():
                body.roles.append(acl_codec.role_to_pb(row))
            case AuthMethod():
                body.auth_methods.append(acl_codec.auth_method_to_pb(row))
            case BindingRule():
                body.binding_rules.append(acl_codec.binding_rule_to_pb(row))
    return command


def delete_acl(
    stamp: Stamp,
    *,
    token: str = "",
    policy: str = "",
    role: str = "",
    auth_method: str = "",
    binding_rule: str = "",
) -> Command:
    """Removes the one row that is named. Value: "deleted", or "" when there was none."""
    command = _base(stamp)
    names = {
        "token": token,
        "policy": policy,
        "role": role,
        "auth_method": auth_method,
        "binding_rule": binding_rule,
    }
    command.delete_acl.CopyFrom(pb.DeleteAcl(**{kind: name for kind, name in names.items() if name}))
    return command


def bootstrap_acl(stamp: Stamp, token: Token, reset_index: int = 0) -> Command:
    """The first management token. Conflict once there was one, unless at `reset_index`."""
    command = _base(stamp)
    command.bootstrap_acl.CopyFrom(
        pb.BootstrapAcl(token=acl_codec.token_to_pb(token), reset_index=reset_index)
    )
    return command
