"""The row of an experiment with faults."""

from dataclasses import dataclass

from .model import NO_INDEXES, Indexes


@dataclass(frozen=True, slots=True)
class Experiment:
    """A fault that is done to requests of a service for a while. Key: name. Ended ones are kept a while."""

    name: str
    service: str
    fault: bytes  # canonical JSON of a rule of service-faults, with its EndsAt
    ends_ms: int  # Unix; sidecars keep to it by themselves
    started_ms: int = 0
    stop_if: tuple[str, ...] = ()
    owner: str = ""  # accessor id
    ended_ms: int = 0  # 0: it runs
    reason: str = ""  # why it ended
    indexes: Indexes = NO_INDEXES

    @property
    def runs(self) -> bool:
        """As far as the log knows: it is over all the same once `ends_ms` has passed."""
        return not self.ended_ms
