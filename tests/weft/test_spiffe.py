"""SPIFFE ids: what is one, and what only looks like one (SPIFFE-ID 2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.spiffe import URI_BYTES_MAX, InvalidSpiffeId, SpiffeId

SEGMENT = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True)


@given(domain=DOMAIN, datacenter=SEGMENT, service=SEGMENT)
def test_an_id_reads_back_from_its_uri(domain: str, datacenter: str, service: str) -> None:
    identity = SpiffeId(domain, datacenter, service)
    assert SpiffeId.parse(identity.uri) == identity
    assert str(identity) == f"spiffe://{domain}/ns/default/dc/{datacenter}/svc/{service}"


@given(st.text(max_size=80))
def test_no_text_is_read_as_another_id(text: str) -> None:
    try:
        identity = SpiffeId.parse(text)
    except InvalidSpiffeId:
        return
    assert identity.uri == text


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe:///ns/default/dc/dc1/svc/web",
        "spiffe://td/ns/default/dc/dc1/svc/",
        "spiffe://td/ns/default/dc/dc1/svc/web\n",
        "spiffe://td/ns/default/dc/dc1/svc/web#x",
        "spiffe://td/ns/default/dc//svc/web",
        "spiffe://td/ns/default/dc/./svc/web",
        "spiffe://td/ns/default/dc/dc1/svc/..",
        "spiffe://td/ns/default/dc/dc1/svc/web/../admin",
        "spiffe://Td/ns/default/dc/dc1/svc/web",
        "spiffe://td/ns/default/dc/dc1/svc/wéb",
        "spiffe://td/ns/default/dc/dc1/svc/" + "a" * URI_BYTES_MAX,
    ],
)
def test_what_is_no_service_id_is_refused(uri: str) -> None:
    with pytest.raises(InvalidSpiffeId):
        SpiffeId.parse(uri)


@pytest.mark.parametrize(
    ("domain", "datacenter", "service", "named"),
    [
        ("TD", "dc1", "web", "trust domain"),
        ("t" * 256, "dc1", "web", "trust domain"),
        ("td", "", "web", "datacenter"),
        ("td", "dc1", "a/b", "service"),
        ("td", "dc1", "..", "service"),
    ],
)
def test_a_bad_part_is_named(domain: str, datacenter: str, service: str, named: str) -> None:
    with pytest.raises(InvalidSpiffeId, match=named):
        SpiffeId(domain, datacenter, service)
