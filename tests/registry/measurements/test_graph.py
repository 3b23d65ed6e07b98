"""Who calls whom: each pair of services once, whoever counted."""

from registry.measurements.graph import links, service_and_subset
from registry.measurements.tally import Edge, Tally

V1, V2 = "v1.orders.default.default.dc1", "v2.orders.default.default.dc1"


def test_the_caller_counts_and_the_called_side_does_not_count_again() -> None:
    (link,) = links(
        {
            Edge(False, "web", "orders", "default", V1): Tally(90, 0),
            Edge(False, "web", "orders", "beta", V1): Tally(5, 0),
            Edge(False, "web", "orders", "default", V2): Tally(10, 10),
            Edge(True, "web", "orders"): Tally(105, 9),
        }
    )
    assert (link.source, link.destination, link.calls.ended, link.calls.failed) == ("web", "orders", 105, 10)
    assert {target: tally.ended for target, tally in link.targets.items()} == {V1: 95, V2: 10}


def test_callers_without_a_sidecar_are_seen_from_the_other_side() -> None:
    (link,) = links({Edge(True, "batch", "orders"): Tally(7, 1)})
    assert (link.source, link.calls.ended, link.targets) == ("batch", 7, {})


def test_calls_that_a_route_led_elsewhere_are_one_edge() -> None:
    """web calls orders; a split sends some to the service orders-next, which counts them as its own."""
    found = links(
        {
            Edge(False, "web", "orders", "", "orders-next.default.default.dc1"): Tally(5),
            Edge(False, "web", "orders", "", "v3.orders-old.default.default.dc1"): Tally(1),
            Edge(True, "web", "orders-next"): Tally(5),
            Edge(True, "web", "orders-old"): Tally(1),
            Edge(True, "web", "stock"): Tally(2),
        }
    )
    assert [(link.source, link.destination) for link in found] == [("web", "orders"), ("web", "stock")]


def test_service_and_subset_are_read_from_the_target() -> None:
    assert service_and_subset(V2) == ("orders", "v2")
    assert service_and_subset("orders.default.default.dc1") == ("orders", "")
    assert service_and_subset("v2.team%2Eorders.default.default.dc1") == ("team.orders", "v2")
    assert service_and_subset("") == ("", ""), "of calls that no route matched"
