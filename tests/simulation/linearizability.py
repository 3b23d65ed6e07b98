"""Is there an order of the operations, each inside its own time, that one copy of the data could show?

The search of Wing and Gong with Lowe's memory of (operations done, value) that were tried, per key:
keys are independent (Herlihy and Wing 1990, locality). An operation with unknown outcome may take
effect at any time after its call, or never; whatever it answered fits.
"""

from dataclasses import dataclass

from .history import Operation
from .model import EMPTY, READ, Value, step

STATES_MAX = 400_000
"""A search that visits more is given up: the run makes too many concurrent operations per key."""


class SearchTooLong(Exception):
    """The history is too concurrent to decide. Make it easier; never count it as good."""


@dataclass(slots=True)
class _Event:
    """A call or a return in the list of what is still to be ordered."""

    operation: int
    is_call: bool
    before: "_Event | None" = None
    after: "_Event | None" = None
    match: "_Event | None" = None  # of a call: its return


def linearizable(operations: list[Operation]) -> bool:
    """Decides for the operations of one key. Raises SearchTooLong."""
    # An unknown read constrains nothing. Python's own order of equals keeps this deterministic.
    chosen = [it for it in operations if not (it.unknown and it.kind == READ)]
    head = _events(chosen)
    known = sum(not it.unknown for it in chosen)
    value, done, done_known = EMPTY, 0, 0
    tried: set[tuple[int, Value]] = set()
    stack: list[tuple[_Event, Value]] = []
    event = head.after
    while done_known < known:
        assert event is not None  # returns of unknown operations are last, and those are never needed
        operation = chosen[event.operation]
        if event.is_call:
            next_value, answer = step(value, operation.kind, operation.argument)
            key = (done | 1 << event.operation, next_value)
            if (operation.unknown or fits(operation, answer)) and key not in tried:
                tried.add(key)
                if len(tried) > STATES_MAX:
                    raise SearchTooLong(f"{len(chosen)} operations on key {operation.key}")
                stack.append((event, value))
                value, done = next_value, key[0]
                done_known += not operation.unknown
                _lift(event)
                event = head.after
            else:
                event = event.after
        else:
            # A return whose call is not yet ordered: the last choice was wrong. Also reached when a
            # return is of an unknown operation, which is at the end: nothing is left to try.
            if not stack:
                return False
            event, value = stack.pop()
            done &= ~(1 << event.operation)
            done_known -= not chosen[event.operation].unknown
            _unlift(event)
            event = event.after
    return True


def fits(operation: Operation, answer: object) -> bool:
    """Whether the model's answer is what the client was told; True says only that it was done."""
    return operation.result in (answer, DONE)


DONE = "done"
"""The result of a write whose answer says nothing else."""


def _events(operations: list[Operation]) -> _Event:
    times: list[tuple[int, int, int]] = []
    for number, operation in enumerate(operations):
        # A return and a call in one microsecond are concurrent: calls first.
        times.append((operation.called_us, 0, number))
        times.append((operation.returned_us, 1, number))
    head = last = _Event(-1, False)
    calls: dict[int, _Event] = {}
    for _, is_return, number in sorted(times):
        event = _Event(number, not is_return, before=last)
        last.after = event
        last = event
        if is_return:
            calls[number].match = event
        else:
            calls[number] = event
    return head


def _lift(call: _Event) -> None:
    for event in (call, call.match):
        assert event is not None and event.before is not None
        event.before.after = event.after
        if event.after is not None:
            event.after.before = event.before


def _unlift(call: _Event) -> None:
    for event in (call.match, call):
        assert event is not None and event.before is not None
        event.before.after = event
        if event.after is not None:
            event.after.before = event
