"""`weft services`: what is registered on this node."""

from pathlib import Path
from typing import Any

import click
import orjson

from ..errors import ConfigError
from ..files import read_bounded
from . import complete
from .consul_api import Api, takes_address
from .tables import show, show_result, takes_format

FILE_BYTES_MAX = 512 * 1024  # as the API takes


@click.group()
def command() -> None:
    """Register and deregister services of this node."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--name", default="", help="The service's name.")
@click.option("--id", "service_id", default="", help="The instance's id.  [default: the name]")
@click.option("--port", type=click.IntRange(1, 65535), help="Where the application listens.")
@click.option("--address", default="", help="Its address.  [default: the node's]")
@click.option("--tag", "tags", multiple=True, help="May be given more than once.")
@click.option("--sidecar", is_flag=True, help="Register a sidecar with it, on a port of the agent's choice.")
@click.option(
    "--credential",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the instance's credential here, mode 0600: what `weft sidecar` starts with. An earlier "
    "credential of the instance ends.",
)
@takes_address
@takes_format
def register(
    api: Api,
    form: str,
    file: Path | None,
    name: str,
    service_id: str,
    port: int | None,
    address: str,
    tags: tuple[str, ...],
    sidecar: bool,
    credential: Path | None,
) -> None:
    """Register one service, from FILE (a definition as JSON) or from options."""
    options: dict[str, Any] = {
        "Name": name,
        "ID": service_id,
        "Port": port,
        "Address": address,
        "Tags": list(tags),
        "Connect": {"SidecarService": {}} if sidecar else None,
    }
    given = {key: value for key, value in options.items() if value}
    if bool(file) == bool(given):
        raise click.UsageError("give either FILE or --name and other options")
    definition = _read(file) if file else given
    query = {"credential": ""} if credential else {}
    answer = api.call("PUT", "/v1/agent/service/register", query, definition)
    if credential:
        _write(credential, answer)
    named = definition.get("Name") or definition.get("name")
    given_id = definition.get("ID") or definition.get("id") or named
    show_result(form, {"ID": given_id, "Service": named}, f"Registered: {named}")


def _read(file: Path) -> dict[str, Any]:
    """A definition, bare or under `service` as Consul's agent files have it. Raises ConfigError."""
    try:
        document = orjson.loads(read_bounded(file, str(file), FILE_BYTES_MAX))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{file}: not JSON ({error}); write a service definition") from None
    inner = document.get("service", document) if isinstance(document, dict) else None
    if not isinstance(inner, dict):
        raise ConfigError(f"{file}: not one service definition; write an object with Name and Port")
    return inner


def _write(path: Path, answer: Any) -> None:
    from ..credential import Credential

    Credential.from_json(orjson.dumps(answer)).write(path)


@command.command()
@click.argument("service_id", shell_complete=complete.instances)
@takes_address
@takes_format
def deregister(api: Api, form: str, service_id: str) -> None:
    """Remove the instance SERVICE_ID and its sidecar; its certificates are revoked."""
    api.call("PUT", f"/v1/agent/service/deregister/{service_id}")
    show_result(form, {"ID": service_id}, f"Deregistered: {service_id}")


@command.command("list")
@takes_address
@takes_format
def list_all(api: Api, form: str) -> None:
    """Instances registered on this node."""
    found: dict[str, dict[str, Any]] = api.get("/v1/agent/services")
    rows = [
        (row["ID"], row["Service"], row.get("Kind", ""), row["Port"], ",".join(row["Tags"]))
        for row in found.values()
    ]
    show(form, found, ("ID", "Service", "Kind", "Port", "Tags"), rows)
