"""Sans-IO. Which route of an upstream takes a request, on which of its sides, and as what it goes on.

The switch asks this for each new head, and so does whoever wants a request explained: there is one answer.
"""

from collections.abc import Sequence

from ..h2.block import Block, Field, Head
from ..traffic import Route, Split, TextKind
from .edits import rewritten
from .hashing import Hashed, hash_of, share_of
from .match import Matcher
from .split import Shares

SPLIT_SALT = b"split"  # so that a user's side says nothing about the instance behind it


class Ruling:
    """A route as it is asked. `splits` are those that a request may take, at least one."""

    __slots__ = ("_shares", "matcher", "route", "splits")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.matcher = Matcher(route.match)
        self.splits: Sequence[Split] = [it for it in route.splits if it.weight] or route.splits[:1]
        self._shares = Shares([it.weight for it in self.splits])

    @property
    def shares(self) -> Shares:
        """Of `splits`."""
        return self._shares

    def hashed(self, block: Block, source: str) -> Hashed:
        """What keeps the request on one side. `source` is the caller's address."""
        return hash_of(self.route.sticky, block, source, SPLIT_SALT)

    def side(self, key: int) -> int:
        """The index among `splits` that a hash leads to."""
        return self._shares.at(share_of(key))

    def fields(self, head: Head) -> tuple[Field, ...]:
        """The head's, with the path that the route gives it."""
        route = self.route
        if not route.prefix_rewrite or route.match is None:
            return head.fields
        matched, put = route.match.path.encode(), route.prefix_rewrite.encode()
        if route.match.path_kind is TextKind.EXACT:
            rest = head.path.partition(b"?")[1] + head.path.partition(b"?")[2]
        elif route.match.path_kind is TextKind.PREFIX:
            rest = head.path[len(matched) :]
            if put.endswith(b"/") and rest.startswith(b"/"):
                rest = rest[1:]
        else:
            return head.fields
        return rewritten(head.fields, put + rest)
