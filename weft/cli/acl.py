"""`weft acl`: tokens, policies and roles."""

from typing import Any

import click

from ..errors import ConfigError
from .acl_logins import GROUPS
from .consul_api import Api, takes_address
from .options import read_given
from .tables import show, show_result, takes_format

TEXT_CHARS_MAX = 64 * 1024  # of rules; the registry takes as many


@click.group()
def command() -> None:
    """Say who may do what. Start with: weft acl bootstrap"""


for _group in GROUPS:
    command.add_command(_group)


@command.command()
@takes_address
@takes_format
def bootstrap(api: Api, form: str) -> None:
    """Make the first management token. Works once."""
    _show_token(form, api.call("PUT", "/v1/acl/bootstrap"))


@command.group()
def token() -> None:
    """Tokens: what a request is allowed by."""


@token.command("create")
@click.option("--description", default="", metavar="TEXT")
@click.option("--policy", "policies", multiple=True, metavar="NAME", help="May be repeated.")
@click.option("--role", "roles", multiple=True, metavar="NAME", help="May be repeated.")
@click.option(
    "--service-identity",
    "services",
    multiple=True,
    metavar="SERVICE",
    help="What a service needs to register itself and find others. May be repeated.",
)
@click.option("--ttl", default="", metavar="DURATION", help="The token ends by itself: 1m to 24h.")
@takes_address
@takes_format
def token_create(
    api: Api,
    form: str,
    description: str,
    policies: tuple[str, ...],
    roles: tuple[str, ...],
    services: tuple[str, ...],
    ttl: str,
) -> None:
    """Make a token."""
    body: dict[str, Any] = {
        "Description": description,
        "Policies": [{"Name": name} for name in policies],
        "Roles": [{"Name": name} for name in roles],
        "ServiceIdentities": [{"ServiceName": name} for name in services],
    }
    if ttl:
        body["ExpirationTTL"] = ttl
    _show_token(form, api.call("PUT", "/v1/acl/token", None, body))


@token.command("list")
@takes_address
@takes_format
def token_list(api: Api, form: str) -> None:
    """All tokens, without their secrets."""
    rows = api.get("/v1/acl/tokens")
    shown = [(row["AccessorID"], row["Description"], _granted(row)) for row in rows]
    show(form, rows, ("ACCESSOR", "DESCRIPTION", "GRANTS"), shown)


@token.command("read")
@click.argument("accessor", default="self")
@takes_address
@takes_format
def token_read(api: Api, form: str, accessor: str) -> None:
    """One token by its accessor; without one, that of this command."""
    _show_token(form, api.get(f"/v1/acl/token/{accessor}"))


@token.command("delete")
@click.argument("accessor")
@takes_address
@takes_format
def token_delete(api: Api, form: str, accessor: str) -> None:
    """End a token, at once and everywhere."""
    api.call("DELETE", f"/v1/acl/token/{accessor}")
    show_result(form, {"AccessorID": accessor}, f"Deleted: {accessor}")


@command.group()
def policy() -> None:
    """Policies: named sets of rules."""


@policy.command("create")
@click.argument("name")
@click.option("--rules", default="", metavar="TEXT", help='HCL or JSON: key_prefix "a/" { policy = "read" }')
@click.option("--rules-file", default="", metavar="FILE", help="The same in a file; - is standard input.")
@click.option("--description", default="", metavar="TEXT")
@takes_address
@takes_format
def policy_create(api: Api, form: str, name: str, rules: str, rules_file: str, description: str) -> None:
    """Make the policy NAME."""
    if bool(rules) == bool(rules_file):
        raise click.UsageError("give one of --rules and --rules-file")
    text = _rules(rules_file) if rules_file else rules
    body = {"Name": name, "Description": description, "Rules": text}
    _show_policy(form, api.call("PUT", "/v1/acl/policy", None, body))


def _rules(file: str) -> str:
    """Raises ConfigError."""
    try:
        return read_given(file, "--rules-file", 4 * TEXT_CHARS_MAX).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"--rules-file {file}: not UTF-8 ({error}); write HCL or JSON") from None


@policy.command("list")
@takes_address
@takes_format
def policy_list(api: Api, form: str) -> None:
    """All policies, the built-in ones first."""
    rows = api.get("/v1/acl/policies")
    show(
        form, rows, ("NAME", "DESCRIPTION", "ID"), [(it["Name"], it["Description"], it["ID"]) for it in rows]
    )


@policy.command("read")
@click.argument("name")
@takes_address
@takes_format
def policy_read(api: Api, form: str, name: str) -> None:
    """The policy NAME with its rules."""
    _show_policy(form, api.get(f"/v1/acl/policy/name/{name}"))


@policy.command("delete")
@click.argument("name")
@takes_address
@takes_format
def policy_delete(api: Api, form: str, name: str) -> None:
    """Remove the policy NAME; its tokens lose what it grants."""
    found = api.get(f"/v1/acl/policy/name/{name}")
    api.call("DELETE", f"/v1/acl/policy/{found['ID']}")
    show_result(form, {"ID": found["ID"], "Name": name}, f"Deleted: {name}")


def _granted(row: dict[str, Any]) -> str:
    names = [it["Name"] for it in (*row["Policies"], *row["Roles"])]
    services = [f"service:{it['ServiceName']}" for it in row["ServiceIdentities"]]
    return ", ".join((*names, *services)) or "-"


def _show_token(form: str, row: dict[str, Any]) -> None:
    facts = [
        ("AccessorID", row["AccessorID"]),
        ("SecretID", row["SecretID"]),
        ("Description", row["Description"] or "-"),
        ("Grants", _granted(row)),
        ("Expires", row.get("ExpirationTime", "never")),
    ]
    show(form, row, ("TOKEN", ""), facts)


def _show_policy(form: str, row: dict[str, Any]) -> None:
    if form == "json":
        show(form, row, (), ())
        return
    show(form, row, ("POLICY", ""), [("Name", row["Name"]), ("ID", row["ID"])])
    click.echo(row["Rules"])
