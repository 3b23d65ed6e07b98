"""What is served now: one certificate, one snapshot, one switch, brought together and kept in step."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from weft.clock import Clock, SystemClock
from weft.errors import ConfigError, invariant

from .errors import InvalidResource
from .h2.outbox import HELD_BYTES_MAX
from .identity import Svid, TlsContexts, tls_contexts
from .outlets import Outlets
from .snapshot import Snapshot
from .sockets import Binder
from .telemetry import Telemetry


class Switch(Protocol):
    """The data path, as this shell sees it; `proxy.engine.Engine` is the one."""

    async def start(self) -> None: ...

    def swap(self, snapshot: Snapshot) -> None: ...

    def rotate(self, tls: TlsContexts) -> None: ...

    async def drain(self, grace_s: float) -> None: ...

    def trouble(self) -> str: ...

    def status(self) -> dict[str, Any] | Awaitable[dict[str, Any]]: ...

    async def refresh(self) -> None:
        """The counters of its telemetry are as of now."""


async def status_of(switch: Switch) -> dict[str, Any]:
    """For people."""
    said = switch.status()
    return await said if isinstance(said, Awaitable) else said


MakeSwitch = Callable[[Snapshot, TlsContexts, Telemetry, Outlets, Binder], Switch]


def frame_switch(
    snapshot: Snapshot,
    tls: TlsContexts,
    telemetry: Telemetry,
    outlets: Outlets,
    binder: Binder,
    held_max: int = HELD_BYTES_MAX,
) -> Switch:
    """The real data path, in this process. `held_max` as `proxy.engine.Engine` has it."""
    from .proxy.engine import Engine  # a supervisor of workers never needs it

    return Engine(
        snapshot=snapshot,
        tls=tls,
        telemetry=telemetry,
        clock=SystemClock(),
        rng=random.Random(),
        outlets=outlets,
        binder=binder,
        held_max=held_max,
    )


class Serving:
    """Starts the switch with the first snapshot; afterwards swaps and rotates it."""

    def __init__(
        self, make_switch: MakeSwitch, telemetry: Telemetry, outlets: Outlets, clock: Clock, binder: Binder
    ) -> None:
        self._make_switch = make_switch
        self._binder = binder
        self._telemetry = telemetry
        self._outlets = outlets
        self._clock = clock
        self._changing = asyncio.Lock()
        self.svid: Svid | None = None
        self.snapshot: Snapshot | None = None
        self.switch: Switch | None = None
        self.started = asyncio.Event()

    def use_svid(self, svid: Svid) -> None:
        """From now on new connections show this certificate."""
        self.svid = svid
        self._telemetry.certificate_not_after = svid.not_after
        if self.switch is not None and self.snapshot is not None:
            self.switch.rotate(self._contexts(svid, self.snapshot))

    async def use_snapshot(self, snapshot: Snapshot) -> None:
        """From now on this is served. Raises InvalidResource, and PortTaken when it is the first."""
        async with self._changing:
            await self._use_snapshot(snapshot)

    async def use_cached(self, snapshot: Snapshot) -> None:
        """As `use_snapshot`, unless the registry has been heard meanwhile."""
        async with self._changing:
            if self.snapshot is None:
                await self._use_snapshot(snapshot)

    async def drain(self, grace_s: float) -> None:
        if self.switch is not None:
            await self.switch.drain(grace_s)

    def certificate_valid(self) -> bool:
        return self.svid is not None and self.svid.not_after > self._clock.wall()

    async def _use_snapshot(self, snapshot: Snapshot) -> None:
        svid = self.svid
        invariant(svid is not None, "a snapshot came before the first certificate")
        assert svid is not None  # for the type checker
        if svid.identity != snapshot.identity:
            raise InvalidResource(
                "proxy", f"is for {snapshot.identity}, our certificate says {svid.identity}"
            )
        if self.switch is None:
            await self._start(svid, snapshot)
        else:
            self._change(self.switch, svid, snapshot)
        self.snapshot = snapshot

    async def _start(self, svid: Svid, snapshot: Snapshot) -> None:
        tls = self._contexts(svid, snapshot)
        switch = self._make_switch(snapshot, tls, self._telemetry, self._outlets, self._binder)
        await switch.start()
        self.switch = switch
        self.started.set()

    def _change(self, switch: Switch, svid: Svid, snapshot: Snapshot) -> None:
        before = self.snapshot
        if before is None or (before.bundles, before.revoked) != (snapshot.bundles, snapshot.revoked):
            # First the trust, then the routes: nothing new is reached with old roots.
            switch.rotate(self._contexts(svid, snapshot))
        switch.swap(snapshot)

    def _contexts(self, svid: Svid, snapshot: Snapshot) -> TlsContexts:
        try:
            return tls_contexts(svid, snapshot.bundles, snapshot.revoked, self._clock)
        except ConfigError as error:
            raise InvalidResource("bundle", f"cannot be used: {error}") from error
