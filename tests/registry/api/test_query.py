"""Conventions of the query string: reference sections 1, 3 and 4 of Consul's HTTP API."""

import pytest
from multidict import MultiDict

from registry.api.errors import BadRequest, NoSuchDatacenter
from registry.api.query import WAIT_DEFAULT_S, WAIT_MAX_S, Consistency, Query


def query(*pairs: tuple[str, str]) -> Query:
    return Query(MultiDict(pairs))


def test_a_flag_is_true_when_present_whatever_its_value() -> None:
    assert query(("stale", "false")).flag("stale")
    assert not query().flag("stale")


@pytest.mark.parametrize(
    ("value", "meaning"), [("", True), ("1", True), ("true", True), ("false", False), ("0", False)]
)
def test_passing_is_read_as_a_go_boolean(value: str, meaning: bool) -> None:
    assert query(("passing", value)).boolean("passing") is meaning


def test_a_passing_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"^Invalid value for \?passing$"):
        query(("passing", "maybe")).boolean("passing")


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "99999999999999999999", "٣"])
def test_a_bad_index_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^Invalid index$"):
        query(("index", value)).index()


def test_the_first_of_repeated_values_counts() -> None:
    assert query(("index", "7"), ("index", "8")).index() == 7


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("", WAIT_DEFAULT_S),
        ("60000ms", 60),
        ("0s", WAIT_DEFAULT_S),
        ("2h", WAIT_MAX_S),
        ("-1s", WAIT_DEFAULT_S),
    ],
)
def test_wait_has_a_default_and_a_maximum(value: str, wait_s: float) -> None:
    assert query(("wait", value)).wait_s() == wait_s


def test_a_bad_wait_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"^Invalid wait time$"):
        query(("wait", "10")).wait_s()


def test_node_meta_splits_at_the_first_colon() -> None:
    assert query(("node-meta", "a:b:c"), ("node-meta", "d")).node_meta() == {"a": "b:c", "d": ""}


@pytest.mark.parametrize(
    ("pairs", "mode"),
    [
        ([], Consistency.DEFAULT),
        ([("leader", "")], Consistency.DEFAULT),
        ([("stale", "")], Consistency.STALE),
        ([("max_stale", "10s")], Consistency.STALE),
        ([("consistent", "")], Consistency.CONSISTENT),
    ],
)
def test_consistency_modes(pairs: list[tuple[str, str]], mode: Consistency) -> None:
    assert query(*pairs).consistency({}) is mode


@pytest.mark.parametrize("other", ["stale", "cached"])
def test_consistent_excludes_stale_and_cached(other: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        query((other, ""), ("consistent", "")).consistency({})
    assert str(refusal.value) == f"Cannot specify ?{other} with ?consistent, conflicting semantics."


def test_a_bad_max_stale_or_cache_control_is_refused() -> None:
    with pytest.raises(BadRequest, match=r'^Invalid max_stale value "x"$'):
        query(("max_stale", "x")).consistency({})
    with pytest.raises(BadRequest, match=r"^Invalid Cache-Control header\.$"):
        query(("cached", "")).consistency({"Cache-Control": "max-age=soon"})
    assert (
        query(("cached", "")).consistency({"Cache-Control": "max-age=5, must-revalidate"})
        is Consistency.DEFAULT
    )


def test_scope_is_this_datacenter_and_the_default_tenant() -> None:
    query(("dc", "dc1"), ("ns", "default"), ("partition", "")).check_scope("dc1")
    with pytest.raises(NoSuchDatacenter, match=r"^No path to datacenter$"):
        query(("dc", "dc2")).check_scope("dc1")
    with pytest.raises(BadRequest, match="partition"):
        query(("partition", "eu")).check_scope("dc1")
