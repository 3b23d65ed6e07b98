"""What an append's answer means, whose turn a batch is, and that etcd only goes forward."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import LogCorrupt
from registry.replica.etcd.errors import Gap, WentBack
from registry.replica.etcd.order import Batch, Boundaries, History, Order, Verdict, judge


def _batch(first: int, count: int = 1, writer: int = 7) -> Batch:
    return Batch(first, writer, tuple(b"%d" % index for index in range(first, first + count)))


def test_batches_pass_once_and_in_order() -> None:
    order = Order()
    assert order.passes(_batch(1, 3)) == _batch(1, 3)
    assert order.passes(_batch(1, 3)) is None
    assert order.passes(_batch(4)) == _batch(4)
    assert (order.last_index, order.resume) == (4, 5)


def test_trap_27_a_missing_batch_is_noticed_by_its_index() -> None:
    order = Order()
    order.passes(_batch(1))
    with pytest.raises(Gap, match="2 to 4"):
        order.passes(_batch(5))
    assert order.last_index == 1


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_trap_27_batches_of_any_order_give_one_log(sizes: list[int], draw: random.Random) -> None:
    batches, first = [], 1
    for size in sizes:
        batches.append(_batch(first, size))
        first += size
    offered = [batch for batch in batches for _ in range(2)]
    draw.shuffle(offered)
    order, log = Order(), list[bytes]()
    while order.last_index < first - 1:
        for batch in offered:
            try:
                if news := order.passes(batch):
                    log += news.commands
            except Gap:
                continue
    assert log == [b"%d" % index for index in range(1, first)]


def test_a_snapshot_may_end_within_a_batch() -> None:
    order = Order()
    order.jump(5, resume=4)
    assert order.passes(_batch(1, 3)) is None
    assert order.passes(_batch(4, 4)) == Batch(6, 7, (b"6", b"7"))
    order.jump(2, resume=1)
    assert (order.last_index, order.resume) == (7, 8), "an older snapshot takes nothing back"


def test_a_batch_that_ends_within_the_snapshot_does_not_belong_to_it() -> None:
    order = Order()
    order.jump(5, resume=4)
    with pytest.raises(LogCorrupt, match="index 4"):
        order.passes(_batch(4, 2))


def test_where_to_resume_after_an_index() -> None:
    boundaries = Boundaries()
    boundaries.note(_batch(1, 3), applied=0)
    boundaries.note(_batch(4, 4), applied=2)
    assert [boundaries.resume_after(index) for index in range(2, 9)] == [1, 4, 4, 4, 4, 8, 9]
    boundaries.note(_batch(8), applied=8)
    assert boundaries.resume_after(8) == 9


@pytest.mark.parametrize(
    ("succeeded", "tail", "writer", "fenced", "verdict"),
    [
        (True, 9, None, True, Verdict.APPENDED),
        (False, 9, 7, False, Verdict.APPENDED),  # the first attempt was carried out, its answer was lost
        (False, 9, 7, True, Verdict.APPENDED),
        (False, 9, 8, False, Verdict.TAKEN),
        (False, 9, 8, True, Verdict.TAKEN),
        (False, 900, None, True, Verdict.TAKEN),  # trimmed since
        (False, 4, None, True, Verdict.DEPOSED),
        (False, 4, None, False, Verdict.MISSING),
    ],
)
def test_what_became_of_an_append(
    succeeded: bool, tail: int, writer: int | None, fenced: bool, verdict: Verdict
) -> None:
    found = judge(_batch(5, 5), succeeded=succeeded, tail=tail, writer=writer, fenced=fenced)
    assert found is verdict


def test_trap_27_a_log_that_became_shorter_is_fatal() -> None:
    with pytest.raises(WentBack, match="ends with index 3"):
        judge(_batch(5), succeeded=False, tail=3, writer=None, fenced=False)


def test_trap_27_a_revision_that_goes_back_is_fatal() -> None:
    history = History()
    history.check(1, 10, 0)
    history.check(1, 8, 7)  # asked before the other answer came
    assert history.revision == 10
    with pytest.raises(WentBack, match="revision is 9, after 10"):
        history.check(1, 9, 10)
    with pytest.raises(WentBack, match="another etcd"):
        history.check(2, 99, 10)
