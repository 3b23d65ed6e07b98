"""Sessions with a TTL: when each was last renewed, in the memory of the server that leads.

Renewals are not in the log: they come every few seconds from everyone who holds a lock. Whoever begins to
lead knows none of them, and therefore gives each session its whole time anew (trap 23). The end of a session
is a proposed compare-and-delete; once it is on its way the session can be renewed no more.
"""

from collections.abc import Callable

from ..catalog.model import Session
from ..catalog.sessions import ttl_ms
from ..catalog.state import State
from ..errors import NotReady
from ..replica.port import Log

GRACE = 2
"""A session ends when this many times its TTL have passed: clients count on it (Consul, and Patroni halves
its TTL for it)."""


class Renewals:
    """`monotonic` is in seconds."""

    def __init__(self, log: Log, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._term = -1
        self._ends: dict[tuple[str, int], float] = {}  # session id and create index -> when it is over
        self._ending: set[tuple[str, int]] = set()

    def over(self, state: State) -> list[Session]:
        """Sessions whose time is out; asked again and again by the leader. They can be renewed no more."""
        term, now = self._log.status().term, self._monotonic()
        if term != self._term:
            self._term = term
            self._ends.clear()
            self._ending.clear()
        timed = [row for row in state.sessions.values() if row.ttl]
        ends = {_key(row): self._ends.get(_key(row)) or now + _life_s(row) for row in timed}
        found = [row for row in timed if ends[_key(row)] <= now]
        self._ends = ends
        self._ending = {_key(row) for row in found}
        return found

    async def renew(self, session_id: str) -> Session | None:
        """The session, with its whole time again; None where there is none. Raises NotReady.

        That this server leads is made sure first: a renewal with one that has been replaced would be lost.
        """
        await self._log.read_index()
        status = self._log.status()
        if not status.is_leader:
            raise NotReady("the leader has changed; retry later")
        row = self._log.view().sessions.get((session_id,))
        if row is None or _key(row) in self._ending:
            return None
        if row.ttl and status.term == self._term:
            self._ends[_key(row)] = self._monotonic() + _life_s(row)
        return row


def _key(row: Session) -> tuple[str, int]:
    return row.id, row.indexes.create


def _life_s(row: Session) -> float:
    return GRACE * ttl_ms(row) / 1000
