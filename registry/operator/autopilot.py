"""Pure. Which servers are well, and which dead ones may be removed: the rules, without the acting.

A dead server is removed only when those that answer then still make a majority of what remains, and
`min_quorum` voters remain. The default keeps three: a cluster of three never shrinks by itself, and the
dead one goes once another has joined in its place. (Consul's default is 0, which shrinks a cluster of
three to two; there the next loss is fatal.)
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..catalog.model import AutopilotConfig
from .servers import Server

DEAD_AFTER_S = 30.0
"""How long a server has to be silent before it may be removed: a restart takes a few seconds."""

FAILED_AFTER_S = 5.0
"""How long it has to be silent before its node counts as critical: above an election, below a check's
usual interval."""


@dataclass(frozen=True, slots=True)
class Health:
    """Of one server, as the leader sees it."""

    server: Server
    healthy: bool
    last_contact_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Of the cluster."""

    servers: tuple[Health, ...]
    failure_tolerance: int  # how many more voters may be lost

    @property
    def healthy(self) -> bool:
        return all(row.healthy for row in self.servers)


def report(found: Iterable[Server], config: AutopilotConfig, last_index: int) -> Report:
    """What the leader says of all members."""
    rows = tuple(_health(server, config, last_index) for server in found)
    voters = [row for row in rows if row.server.member.voter]
    well = sum(row.healthy for row in voters)
    return Report(rows, max(0, well - _quorum(len(voters))))


def _health(server: Server, config: AutopilotConfig, last_index: int) -> Health:
    contact = server.member.last_contact_s or 0.0
    behind = last_index - (server.member.match_index or 0)
    # Heartbeats come every 50 ms or so, so contact below the threshold is up to one interval old.
    healthy = contact * 1000 <= config.last_contact_threshold_ms and behind <= config.max_trailing_logs
    return Health(server, healthy, contact)


def removable(found: Iterable[Server], config: AutopilotConfig) -> tuple[str, ...]:
    """Ids of members to remove now, the longest dead first."""
    if not config.cleanup_dead_servers:
        return ()
    members = [server.member for server in found]
    dead = sorted(
        (it for it in members if (it.last_contact_s or 0.0) >= DEAD_AFTER_S and not it.leader),
        key=lambda it: (-(it.last_contact_s or 0.0), it.id),
    )
    voters = sum(it.voter for it in members)
    living = sum(it.voter and it not in dead for it in members)
    gone = []
    for member in dead:
        if not member.voter:
            gone.append(member.id)
        elif voters - 1 >= max(config.min_quorum, 1) and living >= _quorum(voters - 1):
            gone.append(member.id)
            voters -= 1
    return tuple(gone)


def _quorum(voters: int) -> int:
    return voters // 2 + 1
