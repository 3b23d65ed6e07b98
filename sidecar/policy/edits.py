"""Sans-IO. Header edits of a route, applied to the fields of a head."""

from collections.abc import Iterable, Sequence

from ..h2.block import Block, Extra, Field, Head
from ..traffic import HeaderEdits

EDITED_MAX = 64  # heads of answers, remembered so that the next hop's encoder knows them
_PEER = "%DOWNSTREAM_PEER_URI%"


class Editor:
    """The edits of a route and of one of its splits, in that order. `peer` is the caller's proven URI."""

    __slots__ = ("_added", "_dropped", "_edited", "_set")

    def __init__(self, edits: Sequence[HeaderEdits], peer: str = "-") -> None:
        dropped: set[bytes] = set()
        put: dict[bytes, bytes] = {}
        added: list[Field] = []
        for edit in edits:  # each in turn, as if it saw what the one before had left
            for name in edit.remove:
                dropped.add(name.encode())
                put.pop(name.encode(), None)
                added = [field for field in added if field[0] != name.encode()]
            for name, value in edit.set:
                dropped.add(name.encode())
                added = [field for field in added if field[0] != name.encode()]
                put[name.encode()] = _value(value, peer)
            added += [(name.encode(), _value(value, peer)) for name, value in edit.add]
        self._dropped = frozenset(dropped)
        self._set = tuple(put.items())
        self._added = tuple(added)
        self._edited: dict[int, tuple[Head, Head]] = {}  # by the id of the head as it came

    @property
    def names(self) -> frozenset[bytes]:
        """What must stand in the head to be found: the names that are set or removed."""
        return self._dropped

    def fields(self, fields: Iterable[Field]) -> tuple[Field, ...]:
        """Of a head, pseudo-header fields included."""
        kept = tuple(field for field in fields if field[0] not in self._dropped)
        return (*kept, *self._set, *self._added)

    def block(self, block: Block) -> Block:
        """As `fields`, for a block whose decoder was not told to keep the names in the head."""
        old, head = self._edited.get(id(block.head), (None, None))
        if head is None or old is not block.head:  # ids come again once their object is gone
            if len(self._edited) >= EDITED_MAX:
                self._edited.clear()
            head = self._head(block.head)
            self._edited[id(block.head)] = block.head, head
        extra = block.extra
        if extra.wire and self._dropped:
            extra = Extra.of([literal for literal in extra if literal.name not in self._dropped])
        return Block(head, extra)

    def _head(self, old: Head) -> Head:
        head = Head(old.kind, self.fields(old.fields))
        head.status, head.grpc_status = old.status, old.grpc_status
        head.content_length, head.size = old.content_length, old.size
        return head


def editor_of(*edits: HeaderEdits, peer: str = "-") -> Editor | None:
    """None where there is nothing to edit."""
    return Editor(edits, peer) if any(edits) else None


def rewritten(fields: tuple[Field, ...], path: bytes) -> tuple[Field, ...]:
    """With another path."""
    return tuple((b":path", path) if field[0] == b":path" else field for field in fields)


def _value(value: str, peer: str) -> bytes:
    return value.replace(_PEER, peer).encode()
