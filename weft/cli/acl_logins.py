"""`weft acl role`, `auth-method` and `binding-rule`: who gets what when they log in."""

from typing import Any

import click
import orjson

from ..errors import ConfigError
from .consul_api import Api, takes_address
from .options import read_given
from .tables import show, show_result, takes_format

CONFIG_BYTES_MAX = 64 * 1024  # what the registry takes
Row = dict[str, Any]


@click.group()
def role() -> None:
    """Roles: policies and identities under one name."""


@role.command("create")
@click.argument("name")
@click.option("--description", default="", metavar="TEXT")
@click.option("--policy", "policies", multiple=True, metavar="NAME", help="May be repeated.")
@click.option("--service-identity", "services", multiple=True, metavar="SERVICE", help="May be repeated.")
@takes_address
@takes_format
def role_create(
    api: Api, form: str, name: str, description: str, policies: tuple[str, ...], services: tuple[str, ...]
) -> None:
    """Make the role NAME."""
    body = {
        "Name": name,
        "Description": description,
        "Policies": [{"Name": policy} for policy in policies],
        "ServiceIdentities": [{"ServiceName": service} for service in services],
    }
    _made(form, "role", api.call("PUT", "/v1/acl/role", None, body))


@role.command("list")
@takes_address
@takes_format
def role_list(api: Api, form: str) -> None:
    """All roles."""
    found: list[Row] = api.get("/v1/acl/roles")
    rows = [(row["Name"], _names(row.get("Policies")), row["Description"], row["ID"]) for row in found]
    show(form, found, ("NAME", "POLICIES", "DESCRIPTION", "ID"), rows)


@role.command("delete")
@click.argument("name")
@takes_address
@takes_format
def role_delete(api: Api, form: str, name: str) -> None:
    """Remove the role NAME; its tokens lose what it grants."""
    found = api.get(f"/v1/acl/role/name/{name}")
    api.call("DELETE", f"/v1/acl/role/{found['ID']}")
    show_result(form, {"ID": found["ID"], "Name": name}, f"Deleted: role {name}")


METHOD_EPILOG = """
\b
Tokens of an OpenID Connect provider:
  cat > corp.json <<END
  {"OIDCDiscoveryURL": "https://idp.example", "BoundAudiences": ["weft"], "ClaimMappings": {"sub": "name"}}
  END
  weft acl auth-method create corp --config corp.json --max-token-ttl 8h
  weft acl binding-rule create --method corp --bind-type role --bind-name ops --selector 'value.name == "ada"'
"""


@click.group("auth-method")
def auth_method() -> None:
    """Auth methods: whose tokens `weft login` exchanges."""


@auth_method.command("create", epilog=METHOD_EPILOG)
@click.argument("name")
@click.option("--type", "kind", default="jwt", show_default=True, metavar="TYPE")
@click.option("--config", "config", required=True, metavar="FILE", help="JSON; - is standard input.")
@click.option("--max-token-ttl", "ttl", default="", metavar="DURATION", help="Of what a login gives.")
@click.option("--description", default="", metavar="TEXT")
@takes_address
@takes_format
def method_create(api: Api, form: str, name: str, kind: str, config: str, ttl: str, description: str) -> None:
    """Make the auth method NAME."""
    body: Row = {"Name": name, "Type": kind, "Description": description, "Config": _read(config)}
    if ttl:
        body["MaxTokenTTL"] = ttl
    _made(form, "auth method", api.call("PUT", "/v1/acl/auth-method", None, body))


def _read(name: str) -> Any:
    """Raises ConfigError."""
    try:
        return orjson.loads(read_given(name, "--config", CONFIG_BYTES_MAX))
    except orjson.JSONDecodeError as error:
        raise ConfigError(
            f"--config {name}: not JSON ({error}); see: weft acl auth-method create --help"
        ) from None


@auth_method.command("list")
@takes_address
@takes_format
def method_list(api: Api, form: str) -> None:
    """All auth methods."""
    found: list[Row] = api.get("/v1/acl/auth-methods")
    rows = [(row["Name"], row["Type"], row.get("Description", "")) for row in found]
    show(form, found, ("NAME", "TYPE", "DESCRIPTION"), rows)


@auth_method.command("delete")
@click.argument("name")
@takes_address
@takes_format
def method_delete(api: Api, form: str, name: str) -> None:
    """Remove the auth method NAME, with its binding rules and the tokens that it gave."""
    api.call("DELETE", f"/v1/acl/auth-method/{name}")
    show_result(form, {"Name": name}, f"Deleted: auth method {name}")


@click.group("binding-rule")
def binding_rule() -> None:
    """Binding rules: what a login gives to whom."""


@binding_rule.command("create")
@click.option("--method", required=True, metavar="NAME", help="The auth method.")
@click.option(
    "--bind-type",
    required=True,
    type=click.Choice(["service", "node", "role", "policy", "templated-policy"]),
    help="What the name is of.",
)
@click.option("--bind-name", required=True, metavar="NAME", help="${value.NAME} is filled from the claims.")
@click.option("--selector", default="", metavar="EXPRESSION", help='As value.team == "a"; else everybody.')
@click.option("--description", default="", metavar="TEXT")
@takes_address
@takes_format
def rule_create(
    api: Api, form: str, method: str, bind_type: str, bind_name: str, selector: str, description: str
) -> None:
    """Make a binding rule."""
    body = {
        "AuthMethod": method,
        "BindType": bind_type,
        "BindName": bind_name,
        "Selector": selector,
        "Description": description,
    }
    _made(form, "binding rule", api.call("PUT", "/v1/acl/binding-rule", None, body))


@binding_rule.command("list")
@click.option("--method", default="", metavar="NAME", help="Of this auth method only.")
@takes_address
@takes_format
def rule_list(api: Api, form: str, method: str) -> None:
    """All binding rules."""
    query = {"authmethod": method} if method else {}
    found: list[Row] = api.call("GET", "/v1/acl/binding-rules", query)
    rows = [
        (row["AuthMethod"], row["BindType"], row["BindName"], row.get("Selector", ""), row["ID"])
        for row in found
    ]
    show(form, found, ("METHOD", "TYPE", "NAME", "SELECTOR", "ID"), rows)


@binding_rule.command("delete")
@click.argument("rule_id", metavar="ID")
@takes_address
@takes_format
def rule_delete(api: Api, form: str, rule_id: str) -> None:
    """Remove a binding rule; tokens that it has given stay."""
    api.call("DELETE", f"/v1/acl/binding-rule/{rule_id}")
    show_result(form, {"ID": rule_id}, f"Deleted: binding rule {rule_id}")


def _made(form: str, what: str, row: Row) -> None:
    show_result(form, row, f"Created: {what} {row.get('Name') or row.get('ID')}")


def _names(links: list[Row] | None) -> str:
    return ", ".join(link["Name"] for link in links or ()) or "-"


GROUPS = (role, auth_method, binding_rule)
