"""Leaves with private keys for services by name: `/v1/agent/connect/ca/leaf/:service`.

By contract this hands out a private key: the one declared exception to "the key never leaves the
sidecar" (trap 2). One leaf per service is kept until half its life, so that clients which poll or block
see it change only when it is renewed.
"""

from dataclasses import dataclass

from weft.clock import Clock

from ..replica.port import Log
from .issuer import Issuer, Leaf

SERVICES_MAX = 1024  # leaves kept; asking for a dropped one only makes a new one


@dataclass(frozen=True, slots=True)
class Held:
    """A leaf, its key (PEM), and the index that it is known by."""

    service: str
    leaf: Leaf
    key_pem: bytes
    index: int
    roots_epoch: int
    renew_at: float  # Unix seconds


class ServiceLeaves:
    """Issues and keeps. Errors are those of `Issuer.issue_with_key`."""

    def __init__(self, log: Log, issuer: Issuer, clock: Clock) -> None:
        self._log = log
        self._issuer = issuer
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._index = 0

    def current(self, service: str) -> Held:
        """The leaf in force: a new one once half its life is over or the root has changed."""
        held = self._held.get(service)
        now = self._clock.wall()
        if held is None or now >= held.renew_at or held.roots_epoch != self._log.view().roots_epoch:
            held = self._renew(service)
        return held

    def renews_in_s(self, held: Held) -> float:
        return max(0.0, held.renew_at - self._clock.wall())

    def _renew(self, service: str) -> Held:
        leaf, key_pem = self._issuer.issue_with_key(service)
        state = self._log.view()
        self._index = max(self._index + 1, state.index)
        starts, ends = leaf.issued.not_before.timestamp(), leaf.issued.not_after.timestamp()
        held = Held(service, leaf, key_pem, self._index, state.roots_epoch, (starts + ends) / 2)
        self._held.pop(service, None)
        if len(self._held) >= SERVICES_MAX:
            del self._held[next(iter(self._held))]
        self._held[service] = held
        return held
