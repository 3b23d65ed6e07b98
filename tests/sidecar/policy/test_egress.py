"""Which destinations the rules admit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidResource
from sidecar.policy.egress import EgressPolicy, destination, egress_of
from sidecar.snapshot import Address, Egress, EgressRule
from weft.pb.mesh.v1 import mesh_pb2

LISTEN = Address("127.0.0.1", 15001)
RULES = (
    EgressRule("pay", "api.pay.example", frozenset((443,))),
    EgressRule("cdn", "*.cdn.example"),
    EgressRule("lan", "10.1.0.0/16", frozenset((5432,))),
    EgressRule("six", "fd00::/8"),
)
POLICY = EgressPolicy(Egress(LISTEN, RULES))


@pytest.mark.parametrize(
    ("host", "port", "rule"),
    [
        ("api.pay.example", 443, "pay"),
        ("api.pay.example", 80, None),
        ("evil-api.pay.example", 443, None),
        ("a.cdn.example", 1, "cdn"),
        ("a.b.cdn.example", 80, "cdn"),
        ("cdn.example", 80, None),
        ("xcdn.example", 80, None),
        ("10.1.2.3", 5432, "lan"),
        ("10.2.2.3", 5432, None),
        ("167837955", 5432, None),  # 10.1.1.3 as a number: no address here, and no name of a rule
        ("fd00::1", 9, "six"),
        ("fe80::1", 9, None),
    ],
)
def test_rules(host: str, port: int, rule: str | None) -> None:
    found = POLICY.admit(host, port)
    assert (found.rule if found else None) == rule


def test_who_must_name_itself() -> None:
    by_name = [POLICY.admit("api.pay.example", 443), POLICY.admit("10.1.2.3", 5432)]
    assert [found and found.by_name for found in by_name] == [True, False]
    open_to_all = EgressPolicy(Egress(LISTEN, RULES, default_allow=True))
    found = open_to_all.admit("anything.example", 1)
    assert found is not None and (found.rule, found.by_name) == ("default", False)


def test_without_an_entry_nothing_is_admitted() -> None:
    assert EgressPolicy(None).admit("api.pay.example", 443) is None


@pytest.mark.parametrize(
    ("authority", "address"),
    [
        (b"API.Pay.Example.:443", Address("api.pay.example", 443)),
        (b"[FD00::1]:443", Address("fd00::1", 443)),
        (b"[::ffff:10.1.2.3]:5432", Address("10.1.2.3", 5432)),
        (b"10.1.2.3:5432", Address("10.1.2.3", 5432)),
        (b"a.example", None),
        (b"a.example:", None),
        (b"a.example:0", None),
        (b"a.example:65536", None),
        (b"a.example:+80", None),
        (b"[a.example]:80", None),
        (b":80", None),
    ],
)
def test_authorities(authority: bytes, address: Address | None) -> None:
    assert destination(authority) == address


def test_the_port_of_http_goes_without_saying() -> None:
    assert destination(b"a.example", 80) == Address("a.example", 80)
    assert destination(b"[fd00::1]", 80) == Address("fd00::1", 80)


@given(st.binary(max_size=30))
def test_any_authority_names_a_destination_or_none(authority: bytes) -> None:
    found = destination(authority, 80)
    assert found is None or (found.host and 0 < found.port < 65_536)


def test_what_the_registry_says() -> None:
    rule = mesh_pb2.Egress.Rule(name="pay", host="API.pay.example", ports=[443])
    said = mesh_pb2.Egress(bind_address="127.0.0.1", bind_port=15001, rules=[rule])
    assert egress_of(said) == Egress(LISTEN, (RULES[0],))
    assert egress_of(mesh_pb2.Egress()) is None
    for wrong in (
        mesh_pb2.Egress(bind_address="x", bind_port=1),
        mesh_pb2.Egress(bind_address="127.0.0.1", bind_port=1, rules=[mesh_pb2.Egress.Rule(name="a")]),
        mesh_pb2.Egress(
            bind_address="127.0.0.1",
            bind_port=1,
            rules=[mesh_pb2.Egress.Rule(name="a", host="b", ports=[70_000])],
        ),
    ):
        with pytest.raises(InvalidResource):
            egress_of(wrong)
