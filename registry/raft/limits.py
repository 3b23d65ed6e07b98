"""Bounds of the consensus core. The unit ends the name, the reason follows it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """A driver may choose others, the same on every server or not."""

    append_bytes_max: int = 1024 * 1024
    """Entries in one Append; a longer message would delay the heartbeat behind it. One entry always fits."""

    inflight_bytes_max: int = 16 * 1024 * 1024
    """Unanswered entries per follower: 100 ms of round trip at about 1 Gbit/s."""

    inflight_messages_max: int = 256
    """Unanswered Appends per follower, so that tiny ones do not fill the transport's queue."""

    uncommitted_bytes_max: int = 64 * 1024 * 1024
    """Proposed, not yet committed: what a leader without a majority may pile up in memory."""

    committed_bytes_max: int = 4 * 1024 * 1024
    """Entries to apply per Ready, so that applying a long log goes in slices."""

    chunk_bytes_max: int = 256 * 1024
    """One chunk of a snapshot; it passes a 100 Mbit/s link in 20 ms, a fraction of an election timeout."""

    reads_max: int = 65_536
    """Reads that wait for a confirmation; each costs a tuple."""

    promote_lag_entries_max: int = 4096
    """How far a learner may be behind when it becomes a voter (thesis 4.2.1): less than a second of load."""

    clock_drift_percent: int = 10
    """The stated clock assumption: the length of a tick is within this of the nominal one on every server,
    and `lease_read` is asked with a tick count that includes any pause. Only lease reads rest on it."""


LIMITS = Limits()

ENTRY_OVERHEAD_BYTES = 32
"""What an entry counts beyond its data: term, index, kind and framing."""
