"""Which instances a prepared query answers with, and in what order: the same for HTTP and DNS."""

from typing import Any

from .model import CRITICAL, PASSING, ServiceEntry
from .state import State

Json = dict[str, Any]


def instances(state: State, wish: Json) -> list[ServiceEntry]:
    """Those that are well and have what is asked for. `wish` is `Service` of a rendered query."""
    name = wish["Service"]
    rows = (state.connect_nodes(name) if wish["Connect"] else state.service_nodes(name)).rows
    return [row for row in rows if matches(row, wish)]


def matches(row: ServiceEntry, wish: Json) -> bool:
    """Whether an instance is what a query asks for, and well."""
    ignored = set(wish["IgnoreCheckIDs"])
    statuses = {check.status for check in row.checks if check.id not in ignored}
    if CRITICAL in statuses or (wish["OnlyPassing"] and statuses - {PASSING}):
        return False
    tags = {tag.lower() for tag in row.service.tags}
    return (
        all(_has_tag(tags, wanted.lower()) for wanted in wish["Tags"])
        and _has(row.node.meta, wish["NodeMeta"])
        and _has(row.service.meta, wish["ServiceMeta"])
    )


def _has_tag(tags: set[str], wanted: str) -> bool:
    """`!x` is the absence of x."""
    return wanted[1:] not in tags if wanted.startswith("!") else wanted in tags


def _has(meta: Any, wanted: dict[str, str]) -> bool:
    return all(meta.get(key) == value for key, value in wanted.items())


def failovers(wish: Json, datacenter: str) -> int:
    """How many other places are asked where nothing is found here. Those that nobody knows are left out, as
    in Consul; a target may name this datacenter, which is then asked once more."""
    targets = wish["Failover"]["Targets"] or []
    return sum(not target["Peer"] and target["Datacenter"] == datacenter for target in targets)
