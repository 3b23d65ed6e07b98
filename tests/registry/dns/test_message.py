"""Bytes in, bytes out: what is no query, what does not fit, and whatever else may come."""

import random
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.dns import limits
from registry.dns.message import HEADER, Transport
from tests.support.catalog import World, check, service
from tests.support.dns import Resolver, rcode, texts

UDP, TCP = Transport.UDP, Transport.TCP


def many(count: int) -> World:
    world = World.set_up()
    for at in range(count):
        world.register(service(f"web-{at}", "web", address=f"10.1.{at // 250}.{at % 250 + 1}"))
    return world


CROWD = many(100)


@pytest.fixture
def crowd() -> Resolver:
    return Resolver(lambda: CROWD.state)


def test_three_addresses_go_over_plain_udp_without_truncation(crowd: Resolver) -> None:
    found = crowd.ask("web.service.consul", transport=UDP)
    assert len(texts(found)) == 3
    assert not found.flags & dns.flags.TC
    seen = {text for _ in range(60) for text in texts(crowd.ask("web.service.consul", transport=UDP))}
    assert len(seen) > 50  # another three each time


@pytest.mark.parametrize(("payload", "expected"), [(512, 29), (1232, 74), (8192, 100), (65535, 100)])
def test_edns_says_how_much_udp_may_carry(crowd: Resolver, payload: int, expected: int) -> None:
    found = crowd.ask("web.service.consul", transport=UDP, payload=payload)
    assert len(texts(found)) == expected
    assert bool(found.flags & dns.flags.TC) == (expected < 100)
    assert found.edns == 0
    assert found.payload == limits.UDP_BYTES_TOLD


def test_srv_over_udp_is_truncated_and_whole_over_tcp(crowd: Resolver) -> None:
    short = crowd.ask("web.service.consul", "SRV", UDP)
    assert short.flags & dns.flags.TC
    assert 5 < len(texts(short)) < 100
    whole = crowd.ask("web.service.consul", "SRV", TCP)
    assert not whole.flags & dns.flags.TC
    assert len(texts(whole)) == len(texts(whole, "additional")) == 100


def test_what_lacks_of_the_additional_section_is_no_truncation() -> None:
    world = many(8)
    found = Resolver(lambda: world.state).ask("web.service.consul", "SRV", UDP)
    assert len(texts(found)) == 8
    assert len(texts(found, "additional")) < 8
    assert not found.flags & dns.flags.TC


def test_more_instances_than_an_answer_takes_are_chosen_at_random() -> None:
    world = many(limits.ANSWERS_MAX + 50)
    found = Resolver(lambda: world.state).ask("web.service.consul")
    assert len(texts(found)) == limits.ANSWERS_MAX
    srv = Resolver(lambda: world.state).ask("web.service.consul", "SRV")
    assert len(texts(srv)) > 500


def query_for(name: str, kind: str, rdclass: str = "IN", **how: Any) -> bytes:
    """With an id that stays the same: tests are told apart by their parameters."""
    return dns.message.make_query(name, kind, rdclass, id=7, **how).to_wire()


def plain(**changes: int) -> bytes:
    """A query for web.service.consul whose header is changed."""
    wire = query_for("web.service.consul", "A")
    names = ("number", "flags", "questions", "answers", "authorities", "additional")
    header = dict(zip(names, HEADER.unpack_from(wire), strict=True)) | changes
    return HEADER.pack(*header.values()) + wire[HEADER.size :]


def test_the_question_comes_back_as_it_was_written(crowd: Resolver) -> None:
    query = dns.message.make_query("wEb.SERVICE.consul", "A")
    wire = crowd.desk.take(query.to_wire(), UDP)
    assert isinstance(wire, bytes)
    assert b"\x03wEb\x07SERVICE" in wire
    assert dns.message.from_wire(wire).id == query.id


@pytest.mark.parametrize("wire", [b"", b"\x00", plain()[:11], plain(flags=0x8100)])
def test_what_is_no_query_gets_no_answer(crowd: Resolver, wire: bytes) -> None:
    assert crowd.desk.take(wire, UDP) is None


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (plain(questions=0), "FORMERR"),
        (plain(questions=2), "FORMERR"),
        (plain(additional=9), "FORMERR"),
        (plain()[:20], "FORMERR"),
        (plain() + bytes(limits.QUESTION_BYTES_MAX), "FORMERR"),
        (plain(flags=dns.opcode.to_flags(dns.opcode.NOTIFY)), "NOTIMP"),
        (plain(flags=dns.opcode.to_flags(dns.opcode.UPDATE)), "NOTIMP"),
        (query_for("consul", "AXFR"), "NOTIMP"),
        (query_for("version.bind", "TXT", "CH"), "REFUSED"),
        (query_for("web.service.consul", "A", use_edns=1), "BADVERS"),
        # a name that points at itself
        (plain()[: HEADER.size] + b"\xc0\x0c\x00\x01\x00\x01", "FORMERR"),
    ],
)
def test_what_cannot_be_answered_gets_a_code(crowd: Resolver, wire: bytes, code: str) -> None:
    answer = crowd.desk.take(wire, UDP)
    assert isinstance(answer, bytes)
    found = dns.message.from_wire(answer)
    assert rcode(found) == code
    assert found.id == HEADER.unpack_from(wire)[0]
    assert found.flags & dns.flags.QR


def well_behaved(crowd: Resolver, wire: bytes, transport: Transport) -> None:
    """An answer can be read, is no longer than it may be, and bears the id of its query."""
    answer = crowd.desk.take(wire, transport)
    if answer is None:
        assert len(wire) < HEADER.size or wire[2] & 0x80
        return
    assert isinstance(answer, bytes)
    found = dns.message.from_wire(answer)
    assert found.id == HEADER.unpack_from(wire)[0]
    if transport is UDP:
        assert len(answer) <= limits.UDP_BYTES_MAX


_ASKED = [
    plain(),
    query_for("web.service.consul", "SRV", use_edns=0, payload=4096),
    query_for("1.0.0.10.in-addr.arpa", "PTR", want_dnssec=True),
]
_FUZZED = Resolver(lambda: CROWD.state)


@given(st.binary(max_size=600), st.sampled_from(Transport))
@example(plain(), UDP)
def test_any_bytes_are_survived(wire: bytes, transport: Transport) -> None:
    well_behaved(_FUZZED, wire, transport)
    well_behaved(_FUZZED, plain()[: HEADER.size] + wire, transport)


@given(
    st.sampled_from(_ASKED),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=6),
    st.binary(max_size=40),
    st.sampled_from(Transport),
)
def test_any_change_of_a_query_is_survived(
    wire: bytes, changes: list[tuple[int, int]], tail: bytes, transport: Transport
) -> None:
    changed = bytearray(wire + tail)
    for at, value in changes:
        changed[at % len(changed)] = value
    well_behaved(_FUZZED, bytes(changed), transport)


@given(
    st.integers(0, 65535).filter(lambda it: it not in (41, 250)),
    st.sampled_from([dns.rdataclass.IN, dns.rdataclass.ANY, 3, 254, 65280]),
)
def test_any_type_and_class_is_answered(kind: int, rdclass: int) -> None:
    query = dns.message.make_query("web.service.consul", kind, rdclass)  # type: ignore[arg-type]
    wire = _FUZZED.desk.take(query.to_wire(), TCP)
    assert isinstance(wire, bytes)
    assert query.is_response(dns.message.from_wire(wire))


_addresses = st.sampled_from(
    [
        "",
        "10.1.0.1",
        "10.1.0.2",
        "2001:db8::1",
        "::ffff:10.1.0.3",
        "db.example.com",
        "x" * 64 + ".example.com",
    ]
)
_instances = st.lists(
    st.tuples(
        st.sampled_from(["web", "Web", "api"]),
        _addresses,
        st.sampled_from(["passing", "warning", "critical"]),
        st.lists(st.sampled_from(["v1", "V1", "a.b", "blue"]), max_size=2, unique=True),
        st.integers(0, 65535),
    ),
    max_size=8,
)


@given(_instances, st.sampled_from(["A", "AAAA", "SRV", "ANY", "TXT"]), st.sampled_from(Transport))
def test_any_catalog_can_be_told(
    instances: list[tuple[str, str, str, list[str], int]], kind: str, transport: Transport
) -> None:
    world = World.set_up()
    for at, (name, address, status, tags, weight) in enumerate(instances):
        row = service(f"i{at}", name, address=address, tags=tuple(tags), weight_warning=weight)
        world.register(row, check(f"c{at}", f"i{at}", status))
    asked = Resolver(lambda: world.state, seed=random.Random(len(instances)).randrange(9))
    for name in ("web", "api", "v1.web", "a.b.api", "nobody"):
        for payload in (None, 512, 4096):
            found = asked.ask(f"{name}.service.consul", kind, transport, payload)
            assert rcode(found) in ("NOERROR", "NXDOMAIN")
