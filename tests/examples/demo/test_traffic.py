import grpc

from examples.demo.traffic import Outcome, only_from, tally

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
A, B, FAILED = Outcome(0, OK, "a"), Outcome(0, OK, "b"), Outcome(0, UNAVAILABLE)


def test_tally_counts_who_answered_and_what_failed() -> None:
    assert tally([B, A, FAILED, B]) == "a 1, b 2; 1 UNAVAILABLE"
    assert tally([]) == "none"


def test_only_from_wants_enough_good_calls_from_exactly_these() -> None:
    both = only_from({"a", "b"}, 4)
    assert both([FAILED, A, B, A, B])
    assert not both([A, B, A])
    assert not both([A, A, A, A])
    assert not both([A, B, FAILED, B])
    assert not only_from({"a"}, 2)([A, B])
