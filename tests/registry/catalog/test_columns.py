"""Rows as columns of bytes: whole, the same for equal rows, and refused where anything is odd."""

import random
import string
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import columns, commands, snapshot
from registry.catalog.columns import BYTES_MAX, ROWS_MAX, Kind, Shared, read_run
from registry.catalog.kinds import KINDS
from registry.catalog.model import CheckDefinition, LeafRecord, Node, Proxy, Service, TaggedAddress, Upstream
from registry.errors import LogCorrupt
from tests.support.catalog import World, check, intention, node, root, service, stamp

_text = st.text(string.ascii_letters, max_size=3)
_pairs = st.dictionaries(_text, _text, max_size=2).map(lambda it: dict(sorted(it.items())))
_services = st.builds(
    Service,
    node=_text,
    id=_text,
    name=_text,
    datacenter=st.just("dc1"),
    tags=st.lists(_text, max_size=2).map(tuple),
    port=st.integers(0, 3),
    tagged_addresses=st.dictionaries(_text, st.builds(TaggedAddress, _text, st.integers(0, 9)), max_size=1),
    meta=_pairs,
    connect_native=st.booleans(),
    proxy=st.none() | st.builds(Proxy, _text, upstreams=st.builds(Upstream, _text).map(lambda it: (it,))),
    locality_json=st.binary(max_size=2),
)


def _rows(kind: Kind, records: Iterable[bytes], row: Any) -> list[Any]:
    shared = Shared()
    return [it for record in records for it in map(row, *kind.read(read_run(record), shared))]


@settings(max_examples=200, deadline=None)
@given(st.lists(_services, max_size=20))
def test_rows_come_back_and_equal_rows_give_equal_bytes(rows: list[Service]) -> None:
    kind = KINDS["service"]
    records = list(kind.runs(rows))
    assert _rows(kind, records, Service) == rows
    strangers = [deepcopy(row) for row in rows]  # equal, with nothing in common
    friends = _rows(kind, records, Service)  # equal, with all in common that can be
    assert list(kind.runs(strangers)) == list(kind.runs(friends)) == records


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**160), min_size=1, max_size=5))
def test_serials_are_longer_than_64_bits(serials: list[int]) -> None:
    rows = [LeafRecord(serial, "dc1/n1/a", 5, 6) for serial in serials]
    assert _rows(KINDS["leaf"], KINDS["leaf"].runs(rows), LeafRecord) == rows


def test_equal_parts_are_one_object_afterwards() -> None:
    rows = [service(f"s{number}", "web", meta={"a": "b"}, tags=("t",)) for number in range(300)]
    found = _rows(KINDS["service"], KINDS["service"].runs(rows), Service)
    assert len({id(row.name) for row in found}) == len({id(row.meta) for row in found}) == 1
    checks = [check(f"c{number}", definition=CheckDefinition(ttl_ms=5)) for number in range(300)]
    assert len(list(KINDS["check"].runs(checks))) == 3
    assert sum(map(len, KINDS["check"].runs(checks))) < 300 * 16  # nothing but id and name differ


def test_a_run_has_bounds_in_rows_and_bytes() -> None:
    rows = [node(f"n{number:03}", meta={"k": f"{number:03}" * 2500}) for number in range(ROWS_MAX + 1)]
    records = list(KINDS["node"].runs(rows))
    assert [read_run(record).rows for record in records] == [32, 32, 32, 32, 1]
    assert max(map(len, records)) <= BYTES_MAX
    assert _rows(KINDS["node"], records, Node) == rows


def _of_nodes(**fields: Any) -> bytes:
    return msgspec.msgpack.encode({"table": "node", "rows": 1, "columns": {}} | fields)


_ROW = {"name": [["n1"]], "address": [["10.0.0.1"]], "datacenter": [["dc1"]]}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"", "decode"),
        (_of_nodes(more=1), "more"),
        (_of_nodes(table="shapes"), "a table 'shapes' that this Weft does not know"),
        (_of_nodes(rows=0), "run of 0 rows"),
        (_of_nodes(rows=10**9), "run of 1000000000 rows"),
        (_of_nodes(columns=_ROW | {"colour": [["red"]]}), "colour"),
        (_of_nodes(columns={"name": [["n1"]]}), "address"),
        (_of_nodes(columns=_ROW | {"name": [[5]]}), "str"),
        (_of_nodes(columns=_ROW | {"name": [["n1", "n2"]]}), "2 values for 1 rows"),
        (_of_nodes(columns=_ROW | {"name": [["n1"], b"\x09"]}), "index"),
        (_of_nodes(rows=2, columns=_ROW), "out of order"),
    ],
)
def test_what_no_version_writes_is_refused(record: bytes, said: str) -> None:
    head = next(snapshot.encode(World.set_up().state))
    with pytest.raises(LogCorrupt, match=said):
        snapshot.decode([head, record])


def test_a_column_that_was_not_known_yet_is_the_default() -> None:
    [row] = _rows(KINDS["node"], [_of_nodes(columns=_ROW)], Node)
    assert row == Node("n1", "10.0.0.1", "dc1")


def _saved() -> list[bytes]:
    world = World.set_up()
    for number in range(20):
        world.register(service(f"s{number}", f"web{number % 3}"), check(f"c{number}", f"s{number}"))
    world.do(commands.set_roots(stamp(), [root()], 0))
    world.do(commands.deregister_services(stamp(), "n1", ["s3"]))
    world.do(commands.set_intention(stamp(), intention("a", "b")))
    return list(snapshot.encode(world.state))


def test_damage_is_never_anything_but_a_refusal() -> None:
    """Whoever restores a file may have made it himself."""
    records, draw = _saved(), random.Random(5)
    for _ in range(3000):
        damaged = list(records)
        at = draw.randrange(len(damaged))
        record = bytearray(damaged[at])
        for _ in range(draw.randint(1, 3)):
            record[draw.randrange(len(record))] = draw.randrange(256)
        damaged[at] = bytes(record)
        if draw.random() < 0.2:
            damaged.insert(draw.randrange(len(damaged) + 1), draw.choice(records))
        try:
            snapshot.decode(damaged)
        except LogCorrupt:
            continue


def test_no_run_has_more_rows_than_an_octet_counts() -> None:
    assert columns.ROWS_MAX <= 256
