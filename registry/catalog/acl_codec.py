"""Rows of the access control list to protobuf and back."""

from weft.pb.catalog.v1 import acl_pb2 as pb

from ..acl.model import (
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
from .model import Indexes


def _grants_to_pb(row: Grants) -> pb.AclGrants:
    return pb.AclGrants(
        policies=row.policies,
        roles=row.roles,
        service_identities=[
            pb.AclServiceIdentity(service_name=it.service_name, datacenters=it.datacenters)
            for it in row.service_identities
        ],
        node_identities=[
            pb.AclNodeIdentity(node_name=it.node_name, datacenter=it.datacenter) for it in row.node_identities
        ],
        templated_policies=[
            pb.AclTemplatedPolicy(template_name=it.template_name, name=it.name, datacenters=it.datacenters)
            for it in row.templated_policies
        ],
    )


def _grants_from_pb(row: pb.AclGrants) -> Grants:
    return Grants(
        policies=tuple(row.policies),
        roles=tuple(row.roles),
        service_identities=tuple(
            ServiceIdentity(it.service_name, tuple(it.datacenters)) for it in row.service_identities
        ),
        node_identities=tuple(NodeIdentity(it.node_name, it.datacenter) for it in row.node_identities),
        templated_policies=tuple(
            TemplatedPolicy(it.template_name, it.name, tuple(it.datacenters)) for it in row.templated_policies
        ),
    )


def token_to_pb(row: Token) -> pb.AclToken:
    return pb.AclToken(
        accessor_id=row.accessor_id,
        secret_code=row.secret.code,
        secret_sealed_by=row.secret.sealed_by,
        secret_nonce=row.secret.nonce,
        secret_ciphertext=row.secret.ciphertext,
        description=row.description,
        grants=_grants_to_pb(row.grants),
        local=row.local,
        auth_method=row.auth_method,
        expires_ms=row.expires_ms,
        created_ms=row.created_ms,
        create_index=row.indexes.create,
        modify_index=row.indexes.modify,
    )


def token_from_pb(row: pb.AclToken) -> Token:
    return Token(
        accessor_id=row.accessor_id,
        secret=SealedSecret(row.secret_code, row.secret_sealed_by, row.secret_nonce, row.secret_ciphertext),
        description=row.description,
        grants=_grants_from_pb(row.grants),
        local=row.local,
        auth_method=row.auth_method,
        expires_ms=row.expires_ms,
        created_ms=row.created_ms,
        indexes=Indexes(row.create_index, row.modify_index),
    )


def policy_to_pb(row: Policy) -> pb.AclPolicy:
    return pb.AclPolicy(
        id=row.id,
        name=row.name,
        description=row.description,
        rules=row.rules,
        datacenters=row.datacenters,
        create_index=row.indexes.create,
        modify_index=row.indexes.modify,
    )


def policy_from_pb(row: pb.AclPolicy) -> Policy:
    return Policy(
        id=row.id,
        name=row.name,
        description=row.description,
        rules=row.rules,
        datacenters=tuple(row.datacenters),
        indexes=Indexes(row.create_index, row.modify_index),
    )


def role_to_pb(row: Role) -> pb.AclRole:
    return pb.AclRole(
        id=row.id,
        name=row.name,
        description=row.description,
        grants=_grants_to_pb(row.grants),
        create_index=row.indexes.create,
        modify_index=row.indexes.modify,
    )


def role_from_pb(row: pb.AclRole) -> Role:
    return Role(
        id=row.id,
        name=row.name,
        description=row.description,
        grants=_grants_from_pb(row.grants),
        indexes=Indexes(row.create_index, row.modify_index),
    )


def auth_method_to_pb(row: AuthMethod) -> pb.AclAuthMethod:
    return pb.AclAuthMethod(
        name=row.name,
        type=row.type,
        display_name=row.display_name,
        description=row.description,
        max_token_ttl_ms=row.max_token_ttl_ms,
        token_locality=row.token_locality,
        config_json=row.config_json,
        create_index=row.indexes.create,
        modify_index=row.indexes.modify,
    )


def auth_method_from_pb(row: pb.AclAuthMethod) -> AuthMethod:
    return AuthMethod(
        name=row.name,
        type=row.type,
        display_name=row.display_name,
        description=row.description,
        max_token_ttl_ms=row.max_token_ttl_ms,
        token_locality=row.token_locality,
        config_json=row.config_json,
        indexes=Indexes(row.create_index, row.modify_index),
    )


def binding_rule_to_pb(row: BindingRule) -> pb.AclBindingRule:
    return pb.AclBindingRule(
        id=row.id,
        auth_method=row.auth_method,
        bind_type=row.bind_type,
        bind_name=row.bind_name,
        description=row.description,
        selector=row.selector,
        bind_vars=row.bind_vars,
        create_index=row.indexes.create,
        modify_index=row.indexes.modify,
    )


def binding_rule_from_pb(row: pb.AclBindingRule) -> BindingRule:
    return BindingRule(
        id=row.id,
        auth_method=row.auth_method,
        bind_type=row.bind_type,
        bind_name=row.bind_name,
        description=row.description,
        selector=row.selector,
        bind_vars=dict(sorted(row.bind_vars.items())),
        indexes=Indexes(row.create_index, row.modify_index),
    )
