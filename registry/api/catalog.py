"""`/v1/catalog/*`: nodes, services and instances, health left aside."""

from ..catalog import watches
from ..catalog.model import ServiceEntry
from ..catalog.state import Read
from .handling import Answer, Call, Reading, answer, keeps_all
from .health import has_meta, selected
from .respond import Reply
from .views import catalog_service, health_service, node


async def datacenters(call: Call) -> Reply:
    return call.json([call.parts.datacenter])


def nodes(reading: Reading) -> Answer:
    found = reading.state.list_nodes()
    meta = reading.query.node_meta()
    shown = (node(row) for row in found.rows if has_meta(row, meta))
    return answer(found, [row for row in shown if reading.keeps(row)])


def node_services(reading: Reading) -> Answer:
    """A node with its services by id; null for an unknown one, as in Consul."""
    found = reading.state.node(reading.needed("Missing node name"))
    if found.rows is None:
        return answer(found, None)
    row, services = found.rows
    shown = {each.id: health_service(each) for each in services}
    kept = {key: each for key, each in shown.items() if reading.keeps(each)}
    return answer(found, {"Node": node(row), "Services": kept})


def services(reading: Reading) -> Answer:
    """Service names with the union of their tags."""
    meta = reading.query.node_meta()
    found = reading.state.service_names()
    if not meta and reading.keeps is keeps_all:
        return answer(found, {name: list(tags) for name, tags in found.rows.items()})
    tags: dict[str, set[str]] = {}
    for name in found.rows:
        for row in reading.state.service_nodes(name).rows:
            if has_meta(row.node, meta) and reading.keeps(catalog_service(row)):
                tags.setdefault(name, set()).update(row.service.tags)
    wider = reading.state.read(None, watches.SERVICES, watches.NODES, *map(watches.service, found.rows))
    return answer(wider, {name: sorted(found) for name, found in tags.items()})


def service(reading: Reading) -> Answer:
    return _rows(reading, reading.state.service_nodes(reading.needed("Missing service name")))


def connect(reading: Reading) -> Answer:
    return _rows(reading, reading.state.connect_nodes(reading.needed("Missing service name")))


def _rows(reading: Reading, found: Read[tuple[ServiceEntry, ...]]) -> Answer:
    shown = map(catalog_service, selected(found.rows, reading.query))
    return answer(found, [row for row in shown if reading.keeps(row)])
