"""The checker itself: histories that one copy of the data explains, and histories that none does."""

import itertools
import random

import pytest

from tests.simulation.history import NEVER, Operation
from tests.simulation.linearizability import DONE, linearizable
from tests.simulation.model import APPEND, EMPTY, PUT, READ, SWAP, step


def op(kind: str, argument: object, result: object, called: int, returned: int = NEVER) -> Operation:
    return Operation("c", "k", kind, argument, called, returned, result)


GOOD = {
    "nothing": [],
    "one after the other": [op(PUT, 1, (), 0, 1), op(READ, None, (1,), 2, 3)],
    "a read during a write sees the old value": [op(PUT, 1, (), 0, 9), op(READ, None, (), 1, 2)],
    "a read during a write sees the new value": [op(PUT, 1, (), 0, 9), op(READ, None, (1,), 1, 2)],
    "concurrent writes in the other order": [
        op(PUT, 1, (2,), 0, 9),
        op(PUT, 2, (), 1, 8),
        op(READ, None, (1,), 10, 11),
    ],
    "a write of unknown outcome was done": [op(PUT, 1, None, 0), op(READ, None, (1,), 5, 6)],
    "a write of unknown outcome was not done": [op(PUT, 1, None, 0), op(READ, None, (), 5, 6)],
    "a write of unknown outcome is done late": [
        op(PUT, 1, None, 0),
        op(READ, None, (), 5, 6),
        op(READ, None, (1,), 7, 8),
    ],
    "a read of unknown outcome says nothing": [op(PUT, 1, (), 0, 1), op(READ, None, None, 2)],
    "appends number themselves": [
        op(APPEND, 1, 2, 0, 9),
        op(APPEND, 2, 1, 0, 9),
        op(READ, None, (2, 1), 10, 11),
    ],
    "a swap that failed": [op(PUT, 1, (), 0, 1), op(SWAP, ((), 2), False, 2, 3), op(READ, None, (1,), 4, 5)],
    "a write that answers only that it was done": [op(PUT, 1, DONE, 0, 1), op(READ, None, (1,), 2, 3)],
    "a return and a call in one microsecond are concurrent": [
        op(READ, None, (1,), 0, 5),
        op(PUT, 1, (), 5, 6),
    ],
}

BAD = {
    "a lost write": [op(PUT, 1, (), 0, 1), op(READ, None, (), 2, 3)],
    "a stale read": [op(PUT, 1, (), 0, 1), op(PUT, 2, (1,), 2, 3), op(READ, None, (1,), 4, 5)],
    "a read from nowhere": [op(READ, None, (7,), 0, 1)],
    "a read of what is not yet asked for": [op(READ, None, (1,), 0, 1), op(PUT, 1, (), 2, 3)],
    "two readers disagree on the order": [
        op(PUT, 1, DONE, 0, 20),
        op(PUT, 2, DONE, 0, 20),
        op(READ, None, (1,), 1, 2),
        op(READ, None, (2,), 3, 4),
        op(READ, None, (1,), 5, 6),
    ],
    "a write that was done twice": [
        op(APPEND, 1, 1, 0, 1),
        op(READ, None, (1, 1), 2, 3),
    ],
    "a write of unknown outcome that goes away again": [
        op(PUT, 1, None, 0),
        op(READ, None, (1,), 2, 3),
        op(READ, None, (), 4, 5),
    ],
    "two swaps from the same value": [
        op(SWAP, ((), 1), True, 0, 9),
        op(SWAP, ((), 2), True, 0, 9),
    ],
    "an answer that no order gives": [op(APPEND, 1, 2, 0, 1)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_one_copy_explains_is_accepted(name: str) -> None:
    assert linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_no_order_explains_is_refused(name: str) -> None:
    assert not linearizable(BAD[name])


def by_trying_all_orders(operations: list[Operation]) -> bool:
    """The definition itself, too slow for more than a few operations."""
    return any(
        explains(order)
        for count in range(len(operations) + 1)
        for chosen in itertools.combinations(operations, count)
        if all(it in chosen for it in operations if not it.unknown)
        for order in itertools.permutations(chosen)
    )


def explains(order: tuple[Operation, ...]) -> bool:
    value = EMPTY
    for position, operation in enumerate(order):
        if any(later.returned_us < operation.called_us for later in order[position + 1 :]):
            return False
        value, answer = step(value, operation.kind, operation.argument)
        if not operation.unknown and operation.result not in (answer, DONE):
            return False
    return True


def random_history(draw: random.Random) -> list[Operation]:
    """Mostly true: each operation is done at a moment inside its time; then one answer may be spoilt."""
    value, operations = EMPTY, []
    for moment in range(5):
        kind = draw.choice((PUT, READ, APPEND, SWAP))
        argument = (draw.choice((value, EMPTY)), moment) if kind == SWAP else moment
        called, returned = moment * 10 - draw.randrange(25), moment * 10 + draw.randrange(25)
        if draw.random() < 0.2:
            done = draw.random() < 0.5
            value = step(value, kind, argument)[0] if done else value
            operations.append(op(kind, argument, None, called))
        else:
            value, answer = step(value, kind, argument)
            operations.append(op(kind, argument, answer, called, returned))
    spoilt = draw.choice(operations)
    if draw.random() < 0.5 and not spoilt.unknown:
        spoilt.result = draw.choice((1, (), (1,), (2,), True, False, 2))
    return operations


def test_the_search_agrees_with_trying_all_orders() -> None:
    draw = random.Random("orders")
    verdicts = []
    for _ in range(300):
        operations = random_history(draw)
        verdicts.append(linearizable(operations))
        assert verdicts[-1] == by_trying_all_orders(operations), "\n".join(map(str, operations))
    assert 50 < sum(verdicts) < 290  # both kinds were met
