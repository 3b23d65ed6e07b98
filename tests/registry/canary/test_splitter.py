"""What a splitter becomes at each weight, and which one no canary can begin with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.canary.splitter import at_weight, check_start
from registry.config_entries.canary import ServiceCanary
from registry.config_entries.errors import InvalidEntry
from registry.config_entries.kinds import encoded, entry_of
from registry.config_entries.routing import ServiceResolver, ServiceSplitter
from registry.config_entries.schema import show
from sidecar.policy.split import Shares


def canary(**fields: Any) -> ServiceCanary:
    said = {"Kind": "service-canary", "Name": "orders", "ServiceSubset": "v2", "Interval": "1m"}
    made = entry_of(said | {"Steps": [1, 50, 100]} | fields)
    assert isinstance(made, ServiceCanary)
    return made


def splitter(*splits: dict[str, Any], **fields: Any) -> ServiceSplitter:
    made = entry_of({"Kind": "service-splitter", "Name": "orders", "Splits": list(splits), **fields})
    assert isinstance(made, ServiceSplitter)
    return made


def resolver(default: str = "v1", *subsets: str) -> ServiceResolver:
    names: dict[str, Any] = {name: {} for name in subsets or ("v1", "v2", "v3")}
    made = entry_of(
        {"Kind": "service-resolver", "Name": "orders", "DefaultSubset": default, "Subsets": names}
    )
    assert isinstance(made, ServiceResolver)
    return made


def leg(weight: float, subset: str = "", **more: Any) -> dict[str, Any]:
    return {"Weight": weight, "ServiceSubset": subset, **more}


V1 = splitter(leg(100, "v1"))


@pytest.mark.parametrize(
    ("split", "resolve", "fields"),
    [
        (None, resolver(), {}),
        (None, resolver(""), {"StableSubset": "v1"}),
        (V1, resolver(""), {}),
        (V1, resolver(), {"StableSubset": "v1"}),
        (splitter(leg(100, "v1"), leg(0, "v2")), resolver(), {}),
        (splitter(leg(99.5, "v1"), leg(0.5, "v2")), resolver(), {}),
        (splitter(leg(0, "v2"), leg(0, "v3"), leg(100)), resolver(), {}),
        (splitter(leg(100, Service="legacy-orders")), resolver(), {}),
    ],
)
def test_a_canary_can_begin(
    split: ServiceSplitter | None, resolve: ServiceResolver, fields: dict[str, Any]
) -> None:
    check_start(canary(**fields), split, resolve)


@pytest.mark.parametrize(
    ("split", "resolve", "fields", "reason"),
    [
        (None, None, {}, "has no subset 'v2': write it first"),
        (None, resolver("v1", "v1"), {}, "has no subset 'v2'"),
        (None, resolver(""), {}, "neither a splitter nor a DefaultSubset"),
        (None, resolver(), {"StableSubset": "v9"}, "has no subset 'v9'"),
        (None, resolver("v2"), {}, "all calls go there already"),
        (splitter(leg(60, "v1"), leg(40, "v3")), resolver(), {}, "divides calls among v1, v3"),
        (splitter(leg(100, "v2")), resolver(), {}, "divides calls among nobody else"),
        (splitter(leg(99, "v1"), leg(1, "v2")), resolver(), {}, "'v2' has 1 % already"),
        (V1, resolver(), {"StableSubset": "v3"}, "the splitter's calls go to v1, not 'v3'"),
    ],
)
def test_a_canary_cannot_begin(
    split: ServiceSplitter | None, resolve: ServiceResolver | None, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        check_start(canary(**fields), split, resolve)
    assert reason in str(refusal.value)


def weights(made: ServiceSplitter) -> list[tuple[str, float]]:
    return [(split.subset or split.service, split.weight) for split in made.splits]


def test_where_there_was_none_one_is_made() -> None:
    sticky = [{"Field": "header", "FieldValue": "x-user"}]
    made = at_weight(canary(Sticky=sticky), None, resolver(), 1.0)
    assert weights(made) == [("v1", 99.0), ("v2", 1.0)]
    assert [show(it) for it in made.sticky] == sticky


def test_all_else_stays_as_it_was_written() -> None:
    before = splitter(
        leg(100, "v1", RequestHeaders={"Set": {"x-side": "old"}}),
        leg(0, "v3", ResponseHeaders={"Add": {"a": "b"}}),
        Sticky=[{"SourceIP": True}],
        Meta={"owner": "shop"},
    )
    made = at_weight(canary(Sticky=[{"Field": "header", "FieldValue": "x"}]), before, resolver(), 25.0)
    assert weights(made) == [("v1", 75.0), ("v3", 0.0), ("v2", 25.0)]
    assert made.sticky == before.sticky, "the splitter's own word"
    assert made.meta == before.meta
    assert [it.request_headers for it in made.splits[:2]] == [it.request_headers for it in before.splits]
    assert [it.response_headers for it in made.splits[:2]] == [it.response_headers for it in before.splits]


def test_a_side_that_was_prepared_keeps_its_place_and_headers() -> None:
    before = splitter(leg(0, "v2", RequestHeaders={"Set": {"x-side": "new"}}), leg(100, "v1"))
    made = at_weight(canary(), before, resolver(), 50.0)
    assert weights(made) == [("v2", 50.0), ("v1", 50.0)]
    assert made.splits[0].request_headers is not None


places = st.sampled_from(["none", "last", "first"])


@given(st.lists(st.integers(1, 9_999), unique=True, min_size=1, max_size=6), st.integers(0, 6), places)
def test_each_weight_is_a_valid_splitter_and_users_move_one_way(
    hundredths: list[int], others: int, place: str
) -> None:
    """Also what the log holds is the same: canonical, and readable again."""
    steps = [it / 100 for it in sorted(hundredths)]
    idle = [leg(0, f"x{at}") for at in range(others)]
    before = {
        "none": None,
        "last": splitter(leg(100, "v1"), *idle, leg(0, "v2")),
        "first": splitter(leg(0, "v2"), *idle, leg(100, "v1")),
    }[place]
    points = [at / 97 for at in range(97)]
    it, made, moved = canary(Steps=[*steps, 100]), before, set[float]()
    for percent in (*steps, 100.0):
        made = at_weight(it, made, resolver(), percent)
        again = entry_of(show(made))
        assert encoded(again) == encoded(made)
        shares = Shares([split.hundredths for split in made.splits])
        new = {at for at in points if made.splits[shares.at(at)].subset == "v2"}
        assert moved <= new, "nobody goes back"
        assert {made.splits[shares.at(at)].subset for at in points} <= {"v1", "v2"}
        moved = new
    assert moved == set(points)
