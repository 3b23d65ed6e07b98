"""Rows of the access control list as Consul's JSON."""

import base64
import hashlib
from typing import Any

import orjson

from weft.durations import format_duration

from ...acl.model import AuthMethod, BindingRule, Grants, Policy, Role, Token
from ...acl.tables import AclTables
from ...acl.templates import TEMPLATES, Template
from ...catalog.model import Indexes
from ..views import Json, rfc3339

HIDDEN = "<hidden>"


def token(row: Token, tables: AclTables, secret: str) -> Json:
    """`secret` is the SecretID, or HIDDEN."""
    shown: Json = {
        "AccessorID": row.accessor_id,
        "SecretID": secret,
        "Description": row.description,
        **_grants(row.grants, tables),
        "Local": row.local,
    }
    if row.auth_method:
        shown["AuthMethod"] = row.auth_method
    if row.expires_ms:
        shown["ExpirationTime"] = rfc3339(row.expires_ms)
    content = {key: value for key, value in shown.items() if key != "SecretID"}
    return shown | {"CreateTime": rfc3339(row.created_ms), "Hash": _hash(content), **_indexes(row.indexes)}


def expanded(row: Token, tables: AclTables) -> Json:
    """What `?expanded` adds: every policy and role that the token leads to, whole."""
    roles = [role for it in row.grants.roles if (role := tables.role(it))]
    ids = dict.fromkeys((*row.grants.policies, *(it for role in roles for it in role.grants.policies)))
    return {
        "ExpandedPolicies": [policy(found) for it in ids if (found := tables.policy(it))],
        "ExpandedRoles": [role_view(role, tables) for role in roles],
        "NamespaceDefaultPolicyIDs": None,
        "NamespaceDefaultRoleIDs": None,
        "AgentACLDefaultPolicy": "",
        "AgentACLDownPolicy": "",
        "ResolvedByAgent": "",
    }


def policy(row: Policy) -> Json:
    return {"ID": row.id, "Name": row.name, "Description": row.description, "Rules": row.rules} | _tail(row)


def policy_stub(row: Policy) -> Json:
    """As policies are listed: without their rules."""
    return {"ID": row.id, "Name": row.name, "Description": row.description} | _tail(row)


def _tail(row: Policy) -> Json:
    content = {"Name": row.name, "Description": row.description, "Rules": row.rules}
    datacenters: Json = {"Datacenters": list(row.datacenters)} if row.datacenters else {}
    return datacenters | {"Hash": _hash(content | datacenters), **_indexes(row.indexes)}


def role_view(row: Role, tables: AclTables) -> Json:
    shown = {
        "ID": row.id,
        "Name": row.name,
        "Description": row.description,
        **_grants(row.grants, tables),
    }
    del shown["Roles"]
    return shown | {"Hash": _hash(shown), **_indexes(row.indexes)}


def auth_method(row: AuthMethod) -> Json:
    shown: Json = {
        "Name": row.name,
        "Type": row.type,
        "DisplayName": row.display_name,
        "Description": row.description,
        "MaxTokenTTL": format_duration(row.max_token_ttl_ms / 1000) if row.max_token_ttl_ms else "0s",
        "TokenLocality": row.token_locality,
        "Config": orjson.loads(row.config_json or b"{}"),
    }
    return shown | _indexes(row.indexes)


def auth_method_stub(row: AuthMethod) -> Json:
    """As methods are listed: without their configuration."""
    shown = auth_method(row)
    del shown["Config"]
    return shown


def binding_rule(row: BindingRule) -> Json:
    shown: Json = {
        "ID": row.id,
        "Description": row.description,
        "AuthMethod": row.auth_method,
        "Selector": row.selector,
        "BindType": row.bind_type,
        "BindName": row.bind_name,
    }
    if row.bind_vars:
        shown["BindVars"] = dict(row.bind_vars)
    return shown | _indexes(row.indexes)


def template(row: Template) -> Json:
    """The schema says what variables it takes."""
    schema = ""
    if row.takes_name:
        schema = orjson.dumps(
            {
                "type": "object",
                "properties": {"name": {"type": "string", "$ref": "#/definitions/min-length-one"}},
                "required": ["name"],
                "definitions": {"min-length-one": {"type": "string", "minLength": 1}},
            }
        ).decode()
    return {
        "TemplateName": row.name,
        "Schema": schema,
        "Template": row.text.replace("{name}", "{{.Name}}"),
        "Description": row.description,
    }


def templates() -> Json:
    return {name: template(row) for name, row in TEMPLATES.items()}


def _grants(row: Grants, tables: AclTables) -> Json:
    """Links to what is gone are not shown."""
    return {
        "Policies": [
            {"ID": found.id, "Name": found.name} for it in row.policies if (found := tables.policy(it))
        ],
        "Roles": [{"ID": role.id, "Name": role.name} for it in row.roles if (role := tables.role(it))],
        "ServiceIdentities": [
            {"ServiceName": it.service_name, **_datacenters(it.datacenters)} for it in row.service_identities
        ],
        "NodeIdentities": [
            {"NodeName": it.node_name, "Datacenter": it.datacenter} for it in row.node_identities
        ],
        "TemplatedPolicies": [
            {
                "TemplateName": it.template_name,
                **({"TemplateVariables": {"Name": it.name}} if it.name else {}),
                **_datacenters(it.datacenters),
            }
            for it in row.templated_policies
        ],
    }


def _datacenters(names: tuple[str, ...]) -> Json:
    return {"Datacenters": list(names)} if names else {}


def _indexes(indexes: Indexes) -> Json:
    return {"CreateIndex": indexes.create, "ModifyIndex": indexes.modify}


def _hash(content: Any) -> str:
    """Changes with the content; clients compare it and know nothing of how it is made."""
    return base64.b64encode(hashlib.blake2b(orjson.dumps(content), digest_size=32).digest()).decode()
