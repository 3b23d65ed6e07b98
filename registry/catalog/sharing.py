"""Equal parts of rows as one object.

Rows decoded from bytes repeat themselves: the node's name stands in every row of the node, all instances of
a service have its name, tags and check. Held once, an instance takes half the memory.
"""

from functools import lru_cache

from weft.pb.catalog.v1 import state_pb2 as pb

from .model import CheckDefinition, Indexes

_DEFINITION_FIELDS = tuple(CheckDefinition.__dataclass_fields__)
_RECENT = 4096  # parts of each kind that are remembered between commands: some 100 KiB


class Sharing:
    """Remembers parts and answers a repeated one with the first. `size` None: all of them."""

    def __init__(self, size: int | None) -> None:
        self.text = lru_cache(size)(_text)
        self.texts = lru_cache(size)(_texts)
        self.pairs = lru_cache(size)(_pairs)
        self.indexes = lru_cache(size)(Indexes)
        self.definition = lru_cache(size)(_definition)


def _text(value: str) -> str:
    return value


def _texts(values: tuple[str, ...]) -> tuple[str, ...]:
    return values


def _pairs(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Rows never change a mapping, so they may have it in common."""
    return dict(items)


def _definition(encoded: bytes) -> CheckDefinition:
    row = pb.CheckDefinition.FromString(encoded)
    fields = {name: getattr(row, name) for name in _DEFINITION_FIELDS}
    return CheckDefinition(**fields | {"args": tuple(row.args)})


RECENT = Sharing(_RECENT)
