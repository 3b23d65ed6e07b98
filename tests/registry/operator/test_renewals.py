"""Sessions that nobody renews end; those that somebody does, never do."""

from dataclasses import dataclass, field, replace

import pytest

from registry.catalog import session_commands
from registry.catalog.model import Session
from registry.catalog.state import State
from registry.errors import NotReady
from registry.operator.renewals import Renewals
from registry.replica.port import Status
from tests.support.acl import acl_id
from tests.support.catalog import World, stamp


@dataclass
class Lead:
    """A log whose leader and clock the test sets."""

    world: World = field(default_factory=World.set_up)
    now: float = 100.0
    found: Status = field(default_factory=lambda: Status("me", (), True, 1, 1, True, term=1))

    async def read_index(self, *, consistent: bool = False) -> int:
        return self.world.state.index

    def view(self) -> State:
        return self.world.state

    def status(self) -> Status:
        return self.found

    def create(self, n: int = 1, ttl: str = "10s") -> str:
        row = Session(acl_id(n), "n1", ttl=ttl)
        self.world.do(session_commands.create_session(stamp(), row))
        return row.id


def renewals(lead: Lead) -> Renewals:
    return Renewals(lead, lambda: lead.now)  # type: ignore[arg-type]


def over(lead: Lead, found: Renewals) -> list[str]:
    return [row.id for row in found.over(lead.view())]


async def test_a_session_ends_after_twice_its_ttl_unless_renewed() -> None:
    lead = Lead()
    found = renewals(lead)
    timed, other = lead.create(1), lead.create(2)
    lead.create(3, ttl="")
    assert over(lead, found) == []
    lead.now += 19
    assert over(lead, found) == []
    assert await found.renew(other)
    lead.now += 1
    assert over(lead, found) == [timed]
    assert await found.renew(timed) is None, "its end is on the way"
    assert over(lead, found) == [timed], "until it is gone"
    lead.world.do(session_commands.end_session(stamp(), timed))
    lead.now += 18
    assert over(lead, found) == []
    lead.now += 1
    assert over(lead, found) == [other]


async def test_trap_23_an_election_extends_every_session() -> None:
    lead = Lead()
    found = renewals(lead)
    timed = lead.create()
    over(lead, found)
    lead.now += 19.5
    lead.found = replace(lead.found, term=2)
    assert over(lead, found) == []
    lead.now += 19.5
    assert over(lead, found) == []
    lead.now += 0.5
    assert over(lead, found) == [timed]


async def test_who_does_not_lead_renews_nothing() -> None:
    lead = Lead()
    lead.found = replace(lead.found, is_leader=False)
    with pytest.raises(NotReady):
        await renewals(lead).renew(lead.create())


async def test_what_is_unknown_is_not_renewed() -> None:
    assert await renewals(Lead()).renew("gone") is None
