"""What a key does when one operation at a time is done to it: the truth that histories are held to.

A key holds a tuple of numbers; every write brings a number that no other write brings, so that a
lost, doubled or late write shows in the next read.

    read            answers the tuple
    put n           the tuple becomes (n,); answers the tuple before
    append n        n goes to its end; answers the new length
    swap (t, n)     the tuple becomes (n,) if it is t; answers whether it was
"""

from typing import Any

Value = tuple[int, ...]
EMPTY: Value = ()

READ, PUT, APPEND, SWAP = "read", "put", "append", "swap"


def step(value: Value, kind: str, argument: Any) -> tuple[Value, Any]:
    """The value after the operation, and the answer."""
    if kind == PUT:
        return (argument,), value
    if kind == APPEND:
        return (*value, argument), len(value) + 1
    if kind == SWAP:
        expected, number = argument
        return ((number,), True) if value == expected else (value, False)
    return value, value
