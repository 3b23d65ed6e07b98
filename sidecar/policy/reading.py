"""Sans-IO. A request as rules read it: all of its fields, its path in one spelling."""

from collections.abc import Iterable

from ..admission import PathPolicy
from ..h2.block import Block, Field, Head
from ..h2.fields import request_head
from .edits import rewritten
from .paths import normalised


def read_once(head: Head, policy: PathPolicy, *, strict: bool) -> Head:
    """The head that is authorised and goes on; mostly the same one. `strict`: rules depend on the path.
    Raises AmbiguousPath."""
    path = normalised(head.path, policy, strict)
    if path == head.path:
        return head
    return request_head(rewritten(head.fields, path))


def as_sent(block: Block) -> Head:
    """The head with the fields that stood beside it: it may have come when rules read less than now."""
    if not block.extra:
        return block.head
    return request_head((*block.head.fields, *((it.name, it.value()) for it in block.extra)))


def has_underscore(fields: Iterable[Field]) -> bool:
    return any(b"_" in name for name, _ in fields)
