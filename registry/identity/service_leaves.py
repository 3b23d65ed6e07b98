"""Leaves with private keys for services by name: `/v1/agent/connect/ca/leaf/:service`.

By contract this hands out a private key: the one declared exception to "the key never leaves the
sidecar" (trap 2). One leaf per service is kept until half its life, so that clients which poll or block
see it change only when it is renewed. Each is recorded, and revoked when the last instance of its service
is deregistered.
"""

import asyncio
from dataclasses import dataclass

from weft.clock import Clock

from ..catalog.model import service_leaf_key
from ..catalog.state import State
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
    renew_at: float  # Unix seconds


class ServiceLeaves:
    """Issues and keeps. Errors are those of `Issuer.issue_with_key`."""

    def __init__(self, log: Log, issuer: Issuer, clock: Clock) -> None:
        self._log = log
        self._issuer = issuer
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._index = 0
        self._renewing = asyncio.Lock()

    async def current(self, service: str) -> Held:
        """The leaf in force: a new one once half its life is over, another root signs, or it is revoked."""
        held = self._held.get(service)
        if held is None or not self._in_force(held, self._log.view()):
            async with self._renewing:
                held = self._held.get(service)
                if held is None or not self._in_force(held, self._log.view()):
                    held = await self._renew(service)
        return held

    def _in_force(self, held: Held, state: State) -> bool:
        root = state.active_root()
        recorded = (service_leaf_key(held.service), held.leaf.issued.serial) in state.leaves
        same_root = root is not None and root.signing_key_id == held.leaf.signing_key_id
        return recorded and same_root and self._clock.wall() < held.renew_at

    def renews_in_s(self, held: Held) -> float:
        return max(0.0, held.renew_at - self._clock.wall())

    async def _renew(self, service: str) -> Held:
        leaf, key_pem = await self._issuer.issue_with_key(service)
        state = self._log.view()
        self._index = max(self._index + 1, state.index)
        starts, ends = leaf.issued.not_before.timestamp(), leaf.issued.not_after.timestamp()
        held = Held(service, leaf, key_pem, self._index, (starts + ends) / 2)
        self._held.pop(service, None)
        if len(self._held) >= SERVICES_MAX:
            del self._held[next(iter(self._held))]
        self._held[service] = held
        return held
