"""Membership: who votes, who only learns, where each is found; changed one server at a time (thesis 4.1).

Adjacent configurations differ by at most one voter, so any two of their majorities share a server. A new
server first learns (thesis 4.2.1) and is made a voter once it has caught up.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from .errors import ChangeRefused

MEMBERS_MAX = 16
"""Each entry goes to every member and a majority syncs it: seven voters are many, the rest is room."""

ID_BYTES_MAX = 128
"""A server's id, which travels in each message."""

ADDRESS_BYTES_MAX = 512
"""`host:port`; a DNS name has at most 253 octets."""


class ChangeKind(IntEnum):
    ADD = 0  # as a learner; a member that is there already keeps its role and gets the new address
    PROMOTE = 1  # a learner becomes a voter
    DEMOTE = 2  # a voter becomes a learner
    REMOVE = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One step from a configuration to the next. `address` counts for ADD only."""

    kind: ChangeKind
    id: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A server of the cluster. `address` is for the transport; the core never reads it."""

    id: str
    address: str = ""
    voter: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """The members, ordered by id. Empty: a server that waits to be added to a cluster."""

    members: tuple[Member, ...] = ()

    @classmethod
    def of(cls, voters: Iterable[str], learners: Iterable[str] = ()) -> "Config":
        """A configuration without addresses."""
        members = [*map(Member, voters), *(Member(learner, voter=False) for learner in learners)]
        return cls(tuple(sorted(members, key=lambda member: member.id)))

    @property
    def voters(self) -> frozenset[str]:
        return frozenset(member.id for member in self.members if member.voter)

    @property
    def learners(self) -> frozenset[str]:
        return frozenset(member.id for member in self.members if not member.voter)

    def get(self, member_id: str) -> Member | None:
        return next((member for member in self.members if member.id == member_id), None)

    def after(self, change: Change) -> "Config":
        """The next configuration. Raises ChangeRefused when the change makes no sense here."""
        known = self.get(change.id)
        others = [member for member in self.members if member.id != change.id]
        if change.kind is ChangeKind.ADD:
            others.append(_added(known, change, len(others)))
        elif known is None:
            raise ChangeRefused(f"{change.id} is not a member; see the list of peers")
        elif change.kind is ChangeKind.PROMOTE:
            others.append(replace(known, voter=True))
        elif change.kind is ChangeKind.DEMOTE:
            others.append(replace(known, voter=False))
        if not any(member.voter for member in others):
            raise ChangeRefused(f"{change.id} is the last voter; add another and promote it first")
        return Config(tuple(sorted(others, key=lambda member: member.id)))

    def encode(self) -> bytes:
        """The data of a log entry; the same bytes on every server."""
        rows = [[member.id, member.address, member.voter] for member in self.members]
        return json.dumps(rows, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Config":
        """Raises ValueError for anything that `encode` does not write."""
        rows = json.loads(data)
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            raise ValueError("a configuration is a list of [id, address, votes]")
        return cls(tuple(Member(*row) for row in rows))


NOBODY = Config()


def _added(known: Member | None, change: Change, others: int) -> Member:
    if not change.id or len(change.id.encode()) > ID_BYTES_MAX:
        raise ChangeRefused(f"a server's id has 1 to {ID_BYTES_MAX} bytes")
    if len(change.address.encode()) > ADDRESS_BYTES_MAX:
        raise ChangeRefused(f"a server's address has at most {ADDRESS_BYTES_MAX} bytes")
    if others >= MEMBERS_MAX:
        raise ChangeRefused(f"a cluster has at most {MEMBERS_MAX} servers; remove one first")
    return Member(change.id, change.address, known is not None and known.voter)


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and isinstance(row[1], str)
        and isinstance(row[2], bool)
    )
