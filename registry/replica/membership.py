"""Who is in the cluster, and changing it: one server at a time, learners first (thesis 4.1, 4.2.1).

Any server takes a change and forwards it to the leader. Each returns once the change is committed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from weft.pb.raft.v1 import raft_pb2 as pb

from ..raft.config import Change, ChangeKind
from ..raft.node import NodeStatus
from .asking import Asking
from .leading import Leading


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One server. `match_index` and `last_contact_s` are the leader's knowledge; None elsewhere."""

    id: str
    address: str
    voter: bool
    leader: bool
    match_index: int | None
    last_contact_s: float | None


class Membership:
    """Changes raise ChangeRefused (the message says what to do first), NotReady or OutcomeUnknown."""

    def __init__(
        self, status: Callable[[], NodeStatus], tick_s: float, leading: Leading, asking: Asking
    ) -> None:
        self._status = status
        self._tick_s = tick_s
        self._leading = leading
        self._asking = asking

    def members(self) -> tuple[MemberStatus, ...]:
        """As this server knows them, by id; on the leader with how far each one is."""
        status = self._status()
        known = {peer.id: peer for peer in status.peers}
        found = []
        for member in status.config.members:
            peer, leads = known.get(member.id), member.id == status.leader
            own = leads and member.id == status.id
            match = status.last_index if own else peer.match if peer else None
            contact = 0.0 if own else peer.heard_ticks_ago * self._tick_s if peer else None
            found.append(MemberStatus(member.id, member.address, member.voter, leads, match, contact))
        return tuple(found)

    async def add(self, server_id: str, address: str) -> None:
        """Adds a learner, which is promoted once it has caught up; a member gets the new address."""
        await self._change(Change(ChangeKind.ADD, server_id, address))

    async def promote(self, server_id: str) -> None:
        """Makes a learner a voter; refused while it is far behind."""
        await self._change(Change(ChangeKind.PROMOTE, server_id))

    async def remove(self, server_id: str) -> None:
        """Removes a server, dead or alive; a leader that removes itself steps down once that is committed."""
        await self._change(Change(ChangeKind.REMOVE, server_id))

    async def transfer(self, to: str = "") -> str:
        """Begins to hand leadership to a voter, "" for the one whose log is longest; answers its id."""
        answer = await self._asking.ask(
            lambda: self._leading.transfer(to), lambda: pb.Call(transfer=pb.Transfer(to=to))
        )
        return answer.value

    async def _change(self, change: Change) -> None:
        kind = pb.Change(kind=change.kind, id=change.id, address=change.address)
        await self._asking.ask(lambda: self._leading.change(change), lambda: pb.Call(change=kind))
