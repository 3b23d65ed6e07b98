"""Times of the leases of agents, in seconds, and why they fit together.

An agent that is not answered looks for another server within KEEPALIVE_S_MAX + ANSWER_S, and a little to
connect. A server that is not heard is believed for STALE_S, and its agents are then given `lost_after_s`
more, and the time that so many need to connect: the loss of a server makes no node critical.
"""

from dataclasses import dataclass

KEEPALIVE_S_MIN = 1.0
KEEPALIVE_S_MAX = 4.0
KEEPALIVES_PER_S_MAX = 1000
"""Of one server, at about 0.15 ms each: with more agents each is asked to speak less often."""

ANSWER_S = 2.0
"""How long an agent waits for the answer to a KeepAlive."""

MISSED_MAX = 2
"""KeepAlives that may be missing before a lease has ended."""

STALE_S = 5.0
"""How long the last report of a server counts."""

REPORT_BYTES_MAX = 1024 * 1024
"""Of agents in one report: a quarter of what the other server takes as one message."""

ENTRY_BYTES = 140  # of one agent, besides what it has told: the longest name, and lengths

LEADER_GRACE_S = 10.0
"""What a new leader gives to agents that no server has reported yet: an election, connecting, a report."""

AGENTS_PER_S = 100
"""How many agents are sure to change servers in a second: with all of 10,000 agents and three servers on two
busy cores it was 84 (docs/benchmarks.md). To wait too long is better than to call thousands of nodes dead."""

LOST_AFTER_S = 4.0
GONE_AFTER_S = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class Patience:
    """After how long an agent that nobody hears is critical, and gone: an operator may set both. A new leader
    gives `leader_grace_s` besides."""

    lost_after_s: float = LOST_AFTER_S
    gone_after_s: float = GONE_AFTER_S
    leader_grace_s: float = LEADER_GRACE_S


PATIENCE_DEFAULT = Patience()
