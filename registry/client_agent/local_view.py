"""This node as the API would show it, and the bodies that tell servers of it."""

from typing import Any

from ..api.views import check, health_service, node
from ..catalog.model import Node
from ..catalog.state import State
from .plan import Held, Json

_OF_THE_CATALOG = ("CreateIndex", "ModifyIndex", "ServiceTags", "ServiceName", "PeerName")


def held(state: State, row: Node) -> Held:
    """The rows of the node, in the shape that `plan` compares."""
    key = (row.name,)
    return Held(
        node(row),
        {each.id: health_service(each) for each in state.services.prefix(key)},
        {each.id: check(each) for each in state.checks.prefix(key)},
    )


def body(row: Node, service: Json | None = None, checks: tuple[Json, ...] = ()) -> dict[str, Any]:
    """Of `PUT /v1/catalog/register`. How a check looks at its target stays here: headers may be secret."""
    told: dict[str, Any] = {
        "Node": row.name,
        "ID": row.id,
        "Address": row.address,
        "Datacenter": row.datacenter,
        "TaggedAddresses": dict(row.tagged_addresses),
        "NodeMeta": dict(row.meta),
    }
    if service:
        told["Service"] = _own(service)
    if checks:
        told["Checks"] = [_own(each) | {"Definition": _timing(each)} for each in checks]
    return told


def _own(row: Json) -> Json:
    return {key: value for key, value in row.items() if key not in _OF_THE_CATALOG}


def _timing(row: Json) -> Json:
    return {key: row[key] for key in ("Interval", "Timeout") if row.get(key)}
