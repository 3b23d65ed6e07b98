"""`/v1/catalog/*`: nodes, services and instances, health left aside."""

from dataclasses import replace

from ..catalog import watches
from ..catalog.model import ServiceEntry
from ..catalog.state import Read
from . import reads
from .handling import Answer, Call, Reading, answer, keeps_all
from .health import has_meta, selected
from .near import in_order
from .respond import Reply
from .views import Json, catalog_service, health_service, node


async def datacenters(call: Call) -> Reply:
    return call.json([call.parts.datacenter])


def nodes(reading: Reading) -> Answer:
    found = reading.state.list_nodes()
    meta = reading.query.node_meta()
    readable = reading.sieve.keep(found.rows, reads.node)
    found, rows = in_order(reading, found, readable, lambda row: row.name)
    shown = (node(row) for row in rows if has_meta(row, meta))
    return answer(found, [row for row in shown if reading.keeps(row)])


def node_services(reading: Reading) -> Answer:
    """A node with its services by id; null for an unknown one, as in Consul."""
    found = reading.state.node(reading.needed("Missing node name"))
    if found.rows is None:
        return answer(found, None)
    row, services = found.rows
    if not reading.sieve.keep([row], reads.node):
        return answer(found, None)
    virtual = reading.state.virtual_address
    kept = reading.sieve.keep(services, reads.service)
    shown = {each.id: health_service(each, virtual(each.connects_to)) for each in kept}
    chosen = {key: each for key, each in shown.items() if reading.keeps(each)}
    return answer(found, {"Node": node(row), "Services": chosen})


def node_service_list(reading: Reading) -> Answer:
    """A node with its services as a list; null for an unknown one."""
    found = node_services(reading)
    if found.body is None:
        return found
    return replace(found, body={**found.body, "Services": list(found.body["Services"].values())})


def services(reading: Reading) -> Answer:
    """Service names with the union of their tags."""
    meta = reading.query.node_meta()
    found = reading.state.service_names()
    names = reading.sieve.keep(found.rows, reads.service_name)
    if not meta and reading.keeps is keeps_all:
        return answer(found, {name: list(found.rows[name]) for name in names})
    tags: dict[str, set[str]] = {}
    for name in names:
        for row in reading.state.service_nodes(name).rows:
            if has_meta(row.node, meta) and reading.keeps(_shown(reading, row)):
                tags.setdefault(name, set()).update(row.service.tags)
    wider = reading.state.read(None, watches.SERVICES, watches.NODES, *map(watches.service, found.rows))
    return answer(wider, {name: sorted(found) for name, found in tags.items()})


def service(reading: Reading) -> Answer:
    return _rows(reading, reading.state.service_nodes(reading.needed("Missing service name")))


def connect(reading: Reading) -> Answer:
    return _rows(reading, reading.state.connect_nodes(reading.needed("Missing service name")))


def _rows(reading: Reading, found: Read[tuple[ServiceEntry, ...]]) -> Answer:
    chosen = selected(reading.sieve.keep(found.rows, reads.entry), reading.query)
    found, rows = in_order(reading, found, chosen, lambda row: row.node.name)
    shown = (_shown(reading, row) for row in rows)
    return answer(found, [row for row in shown if reading.keeps(row)])


def _shown(reading: Reading, row: ServiceEntry) -> Json:
    return catalog_service(row, reading.state.virtual_address(row.service.connects_to))
