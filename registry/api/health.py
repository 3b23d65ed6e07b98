"""`/v1/health/*`: instances with their checks."""

from collections.abc import Iterable

from ..catalog.model import PASSING, STATUSES, Check, Node, ServiceEntry
from ..catalog.state import Read
from . import reads
from .errors import BadRequest
from .handling import Answer, Reading, answer
from .near import in_order
from .query import Query
from .views import check, health_entry


def service(reading: Reading) -> Answer:
    return _entries(reading, reading.state.service_nodes(reading.needed("Missing service name")))


def connect(reading: Reading) -> Answer:
    return _entries(reading, reading.state.connect_nodes(reading.needed("Missing service name")))


def _entries(reading: Reading, found: Read[tuple[ServiceEntry, ...]]) -> Answer:
    passing = reading.query.boolean("passing")
    chosen = selected(reading.sieve.keep(found.rows, reads.entry), reading.query)
    found, rows = in_order(reading, found, chosen, lambda row: row.node.name)
    virtual = reading.state.virtual_address
    shown = (
        health_entry(row, virtual(row.service.connects_to))
        for row in rows
        if not passing or row.status == PASSING
    )
    return answer(found, [row for row in shown if reading.keeps(row)])


def selected(rows: Iterable[ServiceEntry], query: Query) -> list[ServiceEntry]:
    """Rows that have every `?tag=` and every `?node-meta=`."""
    tags = {tag.lower() for tag in query.all("tag")}
    meta = query.node_meta()
    return [
        row for row in rows if tags <= {tag.lower() for tag in row.service.tags} and has_meta(row.node, meta)
    ]


def has_meta(node: Node, wanted: dict[str, str]) -> bool:
    """Whether a node has all these key-value pairs."""
    return all(node.meta.get(key) == value for key, value in wanted.items())


def service_checks(reading: Reading) -> Answer:
    found = reading.state.service_checks(reading.needed("Missing service name"))
    return _checks(reading, found)


def node_checks(reading: Reading) -> Answer:
    found = reading.state.node_checks(reading.needed("Missing node name"))
    return _checks(reading, found)


def state_checks(reading: Reading) -> Answer:
    status = reading.needed("Missing check state")
    if status not in ("any", *STATUSES):
        raise BadRequest(f'Invalid check state "{status[:50]}": use any, passing, warning or critical')
    found = reading.state.checks_in(status)
    return _checks(reading, found)


def _checks(reading: Reading, found: Read[tuple[Check, ...]]) -> Answer:
    readable = reading.sieve.keep(found.rows, reads.check)
    found, rows = in_order(reading, found, readable, lambda row: row.node)
    return answer(found, [row for row in map(check, rows) if reading.keeps(row)])
