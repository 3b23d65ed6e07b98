"""`/v1/catalog/*`: nodes, services and instances, health left aside."""

from ..catalog import watches
from ..catalog.model import ServiceEntry
from ..catalog.state import Read
from .handling import Answer, Call, Reading, answer
from .health import has_meta, selected
from .respond import Reply
from .views import catalog_service, health_service, node


async def datacenters(call: Call) -> Reply:
    return call.json([call.parts.datacenter])


def nodes(reading: Reading) -> Answer:
    found = reading.state.list_nodes()
    meta = reading.query.node_meta()
    return answer(found, [node(row) for row in found.rows if has_meta(row, meta)])


def node_services(reading: Reading) -> Answer:
    """A node with its services by id; null for an unknown one, as in Consul."""
    found = reading.state.node(reading.needed("Missing node name"))
    if found.rows is None:
        return answer(found, None)
    row, services = found.rows
    return answer(
        found, {"Node": node(row), "Services": {each.id: health_service(each) for each in services}}
    )


def services(reading: Reading) -> Answer:
    """Service names with the union of their tags."""
    meta = reading.query.node_meta()
    found = reading.state.service_names()
    if not meta:
        return answer(found, {name: list(tags) for name, tags in found.rows.items()})
    tags: dict[str, set[str]] = {}
    for row in reading.state.services_by_name.values():
        on = reading.state.nodes.get((row.node,))
        if on is not None and has_meta(on, meta):
            tags.setdefault(row.name, set()).update(row.tags)
    wider = reading.state.read(None, watches.SERVICES, watches.NODES)
    return answer(wider, {name: sorted(found) for name, found in tags.items()})


def service(reading: Reading) -> Answer:
    return _rows(reading, reading.state.service_nodes(reading.needed("Missing service name")))


def connect(reading: Reading) -> Answer:
    return _rows(reading, reading.state.connect_nodes(reading.needed("Missing service name")))


def _rows(reading: Reading, found: Read[tuple[ServiceEntry, ...]]) -> Answer:
    return answer(found, [catalog_service(row) for row in selected(found.rows, reading.query)])
