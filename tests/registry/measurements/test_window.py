"""A window knows the last minute, and no more."""

from hypothesis import given
from hypothesis import strategies as st

from registry.measurements import window as module
from registry.measurements.tally import Edge, Tally
from registry.measurements.window import SPAN_S, Window

WEB, SHOP = Edge(False, "web", "orders"), Edge(False, "shop", "orders")


def calls(count: int, failed: int = 0) -> Tally:
    return Tally(count, failed, (count,), count * 0.001)


def test_calls_of_an_edge_add_up() -> None:
    window = Window()
    window.add(10.0, WEB, calls(3, 1))
    window.add(10.9, WEB, calls(2))
    window.add(11.0, SHOP, calls(5))
    found = window.edges(11.0)
    assert {edge: (tally.ended, tally.failed) for edge, tally in found.items()} == {WEB: (5, 1), SHOP: (5, 0)}
    assert found[WEB].buckets[0] == 5
    assert window.total(11.0, wanted=lambda edge: edge.source == "web").error_rate == 0.2


def test_what_is_given_out_is_a_copy() -> None:
    window = Window()
    window.add(1.0, WEB, calls(1))
    window.edges(1.0)[WEB].add(calls(100))
    given = calls(1)
    window.add(1.0, WEB, given)
    given.add(calls(100))
    assert window.total(1.0).ended == 2


def test_only_the_seconds_asked_for_count() -> None:
    window = Window()
    for second in range(30):
        window.add(second + 0.5, WEB, calls(1))
    assert window.total(29.9, 10).ended == 11, "the second in which the span begins counts whole"
    assert window.total(29.9, 0.5).ended == 1
    assert window.total(1000.0, 10).ended == 0


def test_what_is_older_than_the_span_goes() -> None:
    window = Window()
    window.add(5.0, WEB, calls(7))
    window.add(5.0 + SPAN_S, SHOP, calls(1))
    assert window.edges(5.0 + SPAN_S, 1000).keys() == {SHOP}


def test_it_is_bounded() -> None:
    before, module.TALLIES_MAX = module.TALLIES_MAX, 2
    try:
        window = Window()
        for at in range(4):
            window.add(1.0, Edge(False, "web", f"s{at}"), calls(1))
        window.add(1.0, Edge(False, "web", "s0"), calls(1))
        assert window.dropped == 2
        assert window.total(1.0).ended == 3
        window.add(1.0 + SPAN_S, WEB, calls(1))
        assert window.dropped == 2, "what went made room"
    finally:
        module.TALLIES_MAX = before


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(1, 9)), max_size=40))
def test_the_whole_minute_holds_all_that_came_in_it(added: list[tuple[float, int]]) -> None:
    window = Window()
    for at, count in sorted(added):
        window.add(at, WEB, calls(count))
    assert window.total(50.0).ended == sum(count for _, count in added)
