"""What the route table is made of."""

from dataclasses import dataclass, replace
from enum import Enum, auto

from ..filter.fields import Struct
from .errors import BodyTooLarge
from .handling import CallHandler, ReadHandler
from .permission import Guard


class Needs(Enum):
    """What serving a route takes."""

    NOTHING = auto()  # answered from what this agent knows
    STATE = auto()  # a consistent view of the catalog: index headers, may block
    BODY = auto()  # the request's body, and a leader that takes writes
    UPLOAD = auto()  # the same with a body that is taken in blocks


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: ReadHandler | CallHandler
    needs: Needs
    guard: Guard
    at_leader: bool = False  # other servers ask the leader, unless the client says ?stale
    filters: Struct | None = None  # fields that `?filter=` may ask for; None: there is no such parameter
    too_large: type[BodyTooLarge] = BodyTooLarge  # what is said to a body over its bound
    is_kept: bool = False  # answers of the read depend on the catalog only, and are kept as bytes (`memo`)
    gives_secrets: bool = False  # a read that hands out keys or everything there is: audited as writes are

    @property
    def changes(self) -> bool:
        """Whether it is a write, for limits."""
        return self.needs in (Needs.BODY, Needs.UPLOAD)

    @property
    def is_audited(self) -> bool:
        """Whether each request is told of in the audit log, and not only the refused ones."""
        return self.gives_secrets or self.changes


def read(path: str, handler: ReadHandler, guard: Guard) -> Route:
    return Route("GET", path, handler, Needs.STATE, guard)


def ask(path: str, handler: CallHandler, guard: Guard) -> Route:
    return Route("GET", path, handler, Needs.NOTHING, guard)


def write(method: str, path: str, handler: CallHandler, guard: Guard) -> Route:
    return Route(method, path, handler, Needs.BODY, guard)


def at_leader(route: Route) -> Route:
    return replace(route, at_leader=True)


def by(fields: Struct, route: Route) -> Route:
    """Rows of the list may be filtered by these fields."""
    return replace(route, filters=fields)


def secret(route: Route) -> Route:
    return replace(route, gives_secrets=True)


def kept(route: Route) -> Route:
    return replace(route, is_kept=True)
