"""`/v1/coordinate/*`: where nodes are on the network, as far as somebody has said so."""

from ..acl.access import Access
from ..agent.errors import Undecodable
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import events, watches
from ..catalog.model import Coordinate
from ..catalog.state import State
from . import reads
from .handling import Answer, Call, Reading
from .respond import Reply
from .views import Json

UNKNOWN = Coordinate("", vec=(0.0,) * events.DIMENSIONS, error=1.5, height=1e-5)
"""Where a node is taken to be before anybody measured (the origin, with Consul's first error)."""


def datacenters(reading: Reading) -> Answer:
    rows = reading.sieve.keep(reading.state.nodes.values(), reads.node)
    suffix = f".{reading.parts.datacenter}"
    shown = [_shown(reading.state, row.name, suffix) for row in rows]
    body = {"Datacenter": reading.parts.datacenter, "AreaID": "wan", "Coordinates": shown}
    return _answer(reading, [body] if shown else [])


def nodes(reading: Reading) -> Answer:
    rows = reading.sieve.keep(reading.state.nodes.values(), reads.node)
    return _answer(reading, [_shown(reading.state, row.name) for row in rows])


def node(reading: Reading) -> Answer:
    name = reading.needed("Missing node name")
    reading.caller.require("node", name, Access.READ)
    found = (name,) in reading.state.nodes
    answer = _answer(reading, [_shown(reading.state, name)] if found else None)
    return answer if found else Answer(None, answer.index, answer.keys, missing="")


def _answer(reading: Reading, body: object) -> Answer:
    found = reading.state.read(None, watches.COORDINATES, watches.NODES)
    return Answer(body, found.index, found.keys)


def _shown(state: State, name: str, suffix: str = "") -> Json:
    row = state.coordinates.get((name,)) or UNKNOWN
    coord = {"Adjustment": row.adjustment, "Error": row.error, "Height": row.height, "Vec": list(row.vec)}
    return {"Node": name + suffix, "Segment": row.segment, "Coord": coord}


async def update(call: Call) -> Reply:
    row = read_whole(decode_object(call.body), "", _coordinate)
    call.caller.require("node", row.node, Access.WRITE)
    await call.parts.writer.propose(lambda stamp: events.set_coordinate(stamp, row))
    return Reply()


def _coordinate(fields: Fields) -> Coordinate:
    node_name, segment = fields.text("Node"), fields.text("Segment")
    for name in ("Datacenter", "Partition"):
        fields.raw(name)
    found = fields.child("Coord", _coord)
    vec, (error, adjustment, height) = found or ((), (0.0, 0.0, 0.0))
    return Coordinate(node_name, segment, vec, error, adjustment, height)


def _coord(fields: Fields) -> tuple[tuple[float, ...], tuple[float, float, float]]:
    vec = fields.raw("Vec")
    if not isinstance(vec, list) or len(vec) > events.DIMENSIONS:
        raise Undecodable(f"Coord.Vec must be a list of {events.DIMENSIONS} numbers")
    return tuple(_number(each, "Vec") for each in vec), (
        _number(fields.raw("Error"), "Error"),
        _number(fields.raw("Adjustment"), "Adjustment"),
        _number(fields.raw("Height"), "Height"),
    )


def _number(value: object, name: str) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Undecodable(f"Coord.{name} must be a number")
    return float(value)
