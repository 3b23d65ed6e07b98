"""Every parser of a request's body, given whatever JSON there is: an answer, or a refusal that says why.

Objects are made of the names that the parsers ask for, read from their source, so that they are entered and
not only refused for their first field.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict

import registry.agent
import registry.api
from registry.acl.tables import AclTables
from registry.agent.check_definition import read_check
from registry.agent.fields import Fields, decode_object, read_whole
from registry.agent.service_definition import Home, parse_service, read_service
from registry.api import catalog_bodies, coordinate, intentions, prepared_query, session, txn
from registry.api.acl import bodies, login
from registry.api.query import Query
from weft.errors import UsageError
from weft.hcl import loads

HOME = Home("n1", "dc1")
READERS: dict[str, Callable[[Fields], object]] = {
    "service": lambda fields: read_service(fields, HOME),
    "check": read_check,
    "catalog node": lambda fields: catalog_bodies.node(fields, "dc1"),
    "catalog service": lambda fields: catalog_bodies.service(fields, HOME),
    "catalog check": lambda fields: catalog_bodies.check(fields, "n1"),
    "intention": lambda fields: intentions.read_body(fields, "a", "b"),
    "session": lambda fields: session._wish(fields, "id", "n1"),
    "coordinate": coordinate._coordinate,
    "query service": prepared_query._service,
    "query template": prepared_query._template,
    "token": lambda fields: bodies.token(fields, AclTables(), 0),
    "policy": bodies.policy,
    "role": lambda fields: bodies.role(fields, AclTables()),
    "auth method": bodies.auth_method,
    "binding rule": bodies.binding_rule,
    "login": login._wish,
    "transaction": lambda fields: txn._op(fields, "dc1"),
}


def asked_for() -> list[str]:
    """Names of fields in the source of the parsers."""
    found: set[str] = set()
    for package in (registry.agent, registry.api):
        for path in Path(package.__path__[0]).rglob("*.py"):
            found |= set(re.findall(r'"([A-Z][A-Za-z0-9]{1,40})"', path.read_text()))
    return sorted(found)


NAMES = asked_for()
TEXTS = st.sampled_from(
    (
        *("", "web", "10s", "-1s", "9999999h", "1e400", "http://x:1/", "127.0.0.1:80", "[::1]:x", "critical"),
        *(
            "set",
            "jwt",
            "allow",
            "service",
            "none",
            "*",
            "${",
            "${value.x}",
            "a/b",
            "\x00",
            "\ud7ff",
            "0" * 600,
        ),
    )
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.text(max_size=20),
)
KEYS = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES).map(str.lower), st.text(max_size=8))
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=8)


def refuses_or_answers(work: Callable[[], object]) -> None:
    try:
        work()
    except UsageError as error:
        assert len(str(error)) < 2000


def test_the_names_of_the_parsers_are_found() -> None:
    assert {"Name", "Proxy", "ServiceIdentities", "KV", "LockDelay", "Upstreams"} <= set(NAMES)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25)
@given(body=OBJECTS)
def test_whatever_the_body_holds(name: str, body: dict[str, Any]) -> None:
    refuses_or_answers(lambda: read_whole(decode_object(orjson.dumps(body)), "", READERS[name]))


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_one_field_of_the_right_name_holds(name: str, data: st.DataObject) -> None:
    """Each field alone, so that none hides behind another's refusal."""
    body = {data.draw(st.sampled_from(NAMES)): data.draw(JSON) for _ in range(2)}
    refuses_or_answers(lambda: read_whole(body, "", READERS[name]))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_json(body: bytes) -> None:
    refuses_or_answers(lambda: parse_service(body, HOME))
    refuses_or_answers(lambda: txn._parsed(body, "dc1"))


@given(st.lists(st.fixed_dictionaries({"KV": OBJECTS}) | OBJECTS, max_size=70))
def test_whatever_a_transaction_holds(operations: list[Any]) -> None:
    refuses_or_answers(lambda: txn._parsed(orjson.dumps(operations), "dc1"))


@given(st.sampled_from("[{"), st.integers(1, 100_000))
def test_json_of_any_depth_is_refused_in_time(opening: str, depth: int) -> None:
    text = opening * depth if opening == "[" else '{"a":' * depth
    refuses_or_answers(lambda: parse_service(text.encode(), HOME))
    closing = "]" if opening == "[" else "}"
    refuses_or_answers(lambda: parse_service((text + "1" + closing * depth).encode(), HOME))
    refuses_or_answers(lambda: txn._parsed((text + "1" + closing * depth).encode(), "dc1"))


@given(st.text(max_size=400))
def test_whatever_text_comes_as_hcl(text: str) -> None:
    refuses_or_answers(lambda: loads(text))


PARAMETERS = st.sampled_from(
    ("index", "wait", "max_stale", "cas", "passing", "node-meta", "dc", "ns", "stale")
)


@given(st.lists(st.tuples(PARAMETERS, TEXTS | st.text(max_size=20)), max_size=8), TEXTS)
def test_whatever_the_query_string_holds(pairs: list[tuple[str, str]], cache_control: str) -> None:
    query = Query(MultiDict(pairs))
    refuses_or_answers(query.index)
    refuses_or_answers(query.wait_s)
    refuses_or_answers(query.max_stale_s)
    refuses_or_answers(query.node_meta)
    refuses_or_answers(query.encoded)
    refuses_or_answers(lambda: query.unsigned("cas"))
    refuses_or_answers(lambda: query.boolean("passing"))
    refuses_or_answers(lambda: query.check_scope("dc1"))
    refuses_or_answers(lambda: query.consistency({"Cache-Control": cache_control}))
