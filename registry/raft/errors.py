"""Errors of the consensus core, under registry.errors.

RegistryError
└── RaftError
    ├── NotLeader        expected: another server leads, or none
    ├── Busy             expected: no room for another proposal, or leadership is being handed over
    └── ChangeRefused    expected: this membership change is not allowed (now)
"""

from ..errors import NotReady, RegistryError


class RaftError(RegistryError):
    """Root of the consensus core's errors."""


class NotLeader(RaftError, NotReady):
    """Expected. `leader` is the id of the server to ask instead, "" while none is known."""

    def __init__(self, leader: str) -> None:
        super().__init__(f"not the leader; ask {leader}" if leader else "there is no leader now; retry later")
        self.leader = leader


class Busy(RaftError, NotReady):
    """Expected. Nothing was proposed; retry later."""


class ChangeRefused(RaftError):
    """Expected. Nothing was proposed; the message says what to do first."""
