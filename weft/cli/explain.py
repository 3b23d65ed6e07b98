"""`weft explain`: what would become of a request, and which entry says so."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import orjson

from ..errors import UsageError
from .consul_api import Api, Refused, takes_address
from .explain_tree import tree
from .options import pair

if TYPE_CHECKING:
    from sidecar.h2.block import Head
    from sidecar.snapshot import Snapshot

GRPC_FIELDS = (("content-type", "application/grpc"), ("te", "trailers"))


@click.command()
@click.argument("source")
@click.argument("destination")
@click.option("--path", default="/", show_default=True, metavar="PATH", help="With its query, if any.")
@click.option("--method", default="GET", show_default=True, metavar="METHOD")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="May be given more than once.")
@click.option("--grpc", metavar="SERVICE/METHOD", help="A gRPC call instead: --grpc shop.Orders/Get")
@click.option(
    "--instance", default="", metavar="ID", help="Which instance of SOURCE calls.  [default: the first]"
)
@takes_address
@click.option("--format", "form", type=click.Choice(["tree", "json"]), default="tree", show_default=True)
def command(
    api: Api,
    source: str,
    destination: str,
    path: str,
    method: str,
    headers: tuple[str, ...],
    grpc: str | None,
    instance: str,
    form: str,
) -> None:
    """What would become of a request from SOURCE to its upstream DESTINATION?

    Which route takes it and why not an earlier one, which side of a split, which instances and why others are
    left out, time-outs and retries, and whether the instance that is called lets it in: by which intention,
    under which rate limits and faults. Each with the config entry that says so.

    It is worked out from what the registry tells the sidecars, by the code that decides in them; no sidecar
    is asked, nothing is sent, and what only a running sidecar knows (ejections, load) is not in it.

    Needs service:write on SOURCE and on who is called, or operator:read.

      weft explain web orders --path /v2/items --header x-beta=1
    """
    fields = [pair(it, "--header") for it in headers]
    if grpc:
        method, path, fields = "POST", f"/{grpc.lstrip('/')}", [*GRPC_FIELDS, *fields]
    document = _explained(api, source, destination, instance, _Asked(method, path, fields))
    if form == "json":
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(tree(document)))


@dataclass(frozen=True)
class _Asked:
    method: str
    path: str
    headers: Sequence[tuple[str, str]] = field(default_factory=list)

    def head(self, authority: str) -> "Head":
        """Raises UsageError."""
        from sidecar.h2.errors import StreamFault
        from sidecar.policy.explain import request

        try:
            return request(self.method, self.path, self.headers, authority)
        except (StreamFault, UnicodeEncodeError) as error:
            raise UsageError(f"no client could send this request: {error}") from None


@dataclass(frozen=True)
class _View:
    """What the registry says of one proxy."""

    said: dict[str, Any]
    snapshot: "Snapshot"


def _view(api: Api, service: str, instance: str = "") -> _View:
    """Raises Refused, and what the sidecar would say of a view that it cannot obey."""
    from google.protobuf.json_format import ParseDict

    from sidecar.policy.compile import compile_snapshot

    from ..pb.mesh.v1 import mesh_pb2

    said = api.get(f"/v1/mesh/proxy/{service}", **({"instance": instance} if instance else {}))
    resources = [ParseDict(it, mesh_pb2.Resource()) for it in said["Resources"]]
    return _View(said, compile_snapshot({it.name: it for it in resources}, said["Index"]))


def _explained(api: Api, source: str, destination: str, instance: str, asked: _Asked) -> dict[str, Any]:
    from sidecar.policy.explain import outward
    from sidecar.policy.explained import outward_document

    try:
        caller = _view(api, source, instance)
    except Refused as refusal:
        raise click.ClickException(refusal.text or str(refusal)) from None
    upstream = caller.snapshot.upstreams.get(destination)
    if upstream is None:
        known = ", ".join(sorted(caller.snapshot.upstreams)) or "none"
        raise click.ClickException(
            f"{source} has no upstream {destination}: add it to Proxy.Upstreams of its registration "
            f"(there are: {known})"
        )
    found = outward(caller.snapshot, upstream, asked.head(destination))
    document = outward_document(destination, found, caller.said["Origins"])
    _add_left_out(document, caller.said["Standings"])
    sent = {it.target: it.sent for it in found.sides}
    arrivals = {}
    for target, fields in sent.items():
        spread = (found.spreads or {})[target]
        to = (found.spreads or {})[spread.instead].target if spread.instead else spread.target
        arrivals[target] = {"Service": to.service, **_arrival(api, caller.snapshot, to.service, fields)}
    return {
        "Source": source,
        "Destination": destination,
        "Instance": caller.said["Instance"],
        "Index": caller.said["Index"],
        "Request": {"Method": asked.method, "Path": asked.path, "Headers": [*map(list, asked.headers)]},
        **document,
        "Arrivals": arrivals,
    }


def _add_left_out(document: dict[str, Any], standings: dict[str, list[dict[str, str]]]) -> None:
    """The registry knows whom a subset's filter leaves out, and which check is critical."""
    for name, target in document["Targets"].items():
        known = {it["Instance"]: it for it in target["Instances"]}
        for row in standings.get(name, ()):
            there = known.get(row["Instance"])
            if there is None:
                target["Instances"].append({**row, "Takes": False})
            else:
                there |= {"Node": row["Node"], "Status": row["Status"]}
                there["Out"] = (row["Out"] or there["Out"]) if not there["Takes"] else ""


def _arrival(api: Api, caller: "Snapshot", service: str, fields: Any) -> dict[str, Any]:
    """What the instance that is called makes of it."""
    from sidecar.policy.explain import inward
    from sidecar.policy.explained import inward_document

    try:
        called = _view(api, service)
    except Refused as refusal:
        return {"Unknown": refusal.text or str(refusal)}
    found = inward(called.snapshot, caller.identity, fields, time.time())
    return inward_document(found, called.said["Origins"])
