"""Who asks, and what that allows: one request's view of the access control list."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from weft.errors import UsageError

from .access import PLAIN, Access
from .authorizer import ALLOW_ALL, Authorizer

T = TypeVar("T")
_IMPLICIT = " The anonymous token is used implicitly when a request does not specify a token."


class PermissionDenied(UsageError):
    """Expected. The token may not do this; the text is Consul's."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`accessor_id` names the token in messages and in the audit log."""

    may: Authorizer
    accessor_id: str = ""
    is_anonymous: bool = False

    def require(self, resource: str, label: str, access: Access) -> None:
        """Raises PermissionDenied."""
        if not self.may.allows(resource, label, access):
            raise self.denied(f"{resource}:{access.word}", "" if resource in PLAIN else label)

    def require_all(self, resource: str, prefix: str, access: Access) -> None:
        """Over everything that begins with `prefix`. Raises PermissionDenied."""
        if not self.may.allows_all(resource, access, prefix):
            raise self.denied(f"{resource}:{access.word}", prefix)

    def require_intention(self, destination: str, access: Access) -> None:
        """Raises PermissionDenied."""
        if not self.may.allows_intention(destination, access):
            raise self.denied(f"intention:{access.word}", destination)

    def denied(self, permission: str, label: str = "") -> PermissionDenied:
        """What to raise when `permission` lacks."""
        who = "anonymous token" if self.is_anonymous else f"token with AccessorID '{self.accessor_id}'"
        on = f' on "{label[:256]}"' if label else ""
        dot, hint = (".", _IMPLICIT) if self.is_anonymous else ("", "")
        return PermissionDenied(f"Permission denied: {who} lacks permission '{permission}'{on}{dot}{hint}")


EVERYBODY = Caller(ALLOW_ALL)
"""Where there is no access control: on loopback, by `weft dev`."""


class Sieve:
    """Keeps of lists what a caller may read, and notes whether something was left out."""

    __slots__ = ("_may", "left_out")

    def __init__(self, caller: Caller) -> None:
        self._may = caller.may
        self.left_out = False

    def keep(self, rows: Iterable[T], readable: Callable[[Authorizer, T], bool]) -> list[T]:
        """Rows that `readable` grants."""
        kept = []
        for row in rows:
            if readable(self._may, row):
                kept.append(row)
            else:
                self.left_out = True
        return kept
