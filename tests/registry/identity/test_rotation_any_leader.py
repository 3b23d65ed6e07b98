"""A rotation reaches its end whatever happens to the leaders, and no leaf ever stops verifying.

Several servers run the real driver over one log. Each attempt may come from a server that leads no more
(it decides by an old view), die before its proposal, or die after it without hearing the answer.
"""

import asyncio
import contextlib
import itertools
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.authority import issue_leaf_for_key
from ca.bundle import read_der
from ca.operator_key import in_memory
from ca.rotation import SKEW_MS, Phase
from registry.agent.writer import Writer
from registry.catalog import commands
from registry.catalog.model import CaSettings
from registry.identity.rotation import Rotation
from registry.identity.signing_key import SigningKey
from tests.support.catalog import CLUSTER, World, stamp
from tests.support.world_log import Server
from weft.errors import WeftError
from weft.spiffe import SpiffeId
from weft.svid import Verifier

START_S = 1_800_000_000.0
LEAF_TTL_MS = 60_000
KEYRING = in_memory()
LEAF_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
ATTEMPTS = st.tuples(
    st.integers(0, 2),  # which server
    st.sampled_from(["well", "well", "dies before", "dies after", "is deposed"]),
    st.sampled_from([0, 1, 30, 61, 130]),  # seconds that pass first
    st.booleans(),  # whether the operator asks for a rotation first
)


@dataclass
class Clock:
    now: float = START_S

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@dataclass
class Mesh:
    """Leaves in use and the bundles that peers may hold: the one in force and the one before."""

    clock: Clock
    world: World = field(default_factory=World.set_up)
    leaves: list[tuple[list[bytes], datetime]] = field(default_factory=list)
    bundles: list[list[bytes]] = field(default_factory=list)
    serials: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now, UTC)

    def issue(self) -> None:
        """As the issuer does: signed by the active root, recorded, fenced."""
        state, serial = self.world.state, next(self.serials)
        root = state.active_root()
        assert root is not None
        identity = SpiffeId(CLUSTER.trust_domain, "dc1", "web")
        ttl = timedelta(milliseconds=state.ca().rows.settings.leaf_ttl_ms)
        key = SigningKey(KEYRING).of(state)
        leaf = issue_leaf_for_key(
            read_der(root.certificate_der), key, LEAF_KEY, identity, serial, self.now(), ttl
        )
        ends_ms = int(leaf.not_after.timestamp() * 1000)
        at = stamp(int(self.clock.now * 1000))
        self.world.do(commands.record_service_leaf(at, "web", serial, ends_ms, state.roots_epoch))
        self.leaves.append(([leaf.leaf_der, *root.intermediates_der], leaf.not_after))

    def check(self) -> None:
        bundle = [row.certificate_der for row in self.world.state.roots.values()]
        if not self.bundles or self.bundles[-1] != bundle:
            self.bundles.append(bundle)
        self.leaves = [leaf for leaf in self.leaves if leaf[1] > self.now()]
        for known in self.bundles[-2:]:
            verifier = Verifier({CLUSTER.trust_domain: known})
            for chain, _ in self.leaves:
                verifier.verify(chain, self.now())

    def roots(self) -> list[str]:
        return [row.id for row in self.world.state.roots.values()]


async def settle(rotation: Rotation) -> None:
    while await rotation.step():
        pass


async def live(attempts: list[tuple[int, str, int, bool]]) -> None:
    clock = Clock()
    mesh = Mesh(clock)
    servers = [Server(mesh.world) for _ in range(3)]
    drivers = [
        Rotation(server, Writer(server, clock, os.urandom), SigningKey(KEYRING), os.urandom)
        for server in servers
    ]
    settings = CaSettings(leaf_ttl_ms=LEAF_TTL_MS)
    mesh.world.do(commands.configure_ca(stamp(), settings))
    await settle(drivers[0])
    (first,) = mesh.roots()
    mesh.issue()
    mesh.world.do(commands.configure_ca(stamp(), settings, rotate=True))
    before = mesh.world.state
    for which, fate, passes_s, asks in attempts:
        clock.now += passes_s
        if asks:
            mesh.world.attempt(commands.configure_ca(stamp(), settings, rotate=True))
        servers[which].fate, servers[which].seen = fate, before if fate == "is deposed" else None
        before = mesh.world.state
        with contextlib.suppress(WeftError):  # the loop would look again
            await drivers[which].step()
        servers[which].seen = None
        mesh.issue()
        mesh.check()
    for server in servers:
        server.fate = "well"
    while mesh.world.state.ca().rows.phase is not Phase.STEADY:
        await settle(drivers[1])
        mesh.check()
        clock.now += 10
    assert len(mesh.roots()) == 1
    assert mesh.roots() != [first]
    root = mesh.world.state.active_root()
    assert root
    assert root.intermediates_der == ()
    SigningKey(KEYRING).of(mesh.world.state)
    assert clock.now <= START_S + sum(each[2] for each in attempts) + (2 * LEAF_TTL_MS + SKEW_MS) / 1000 + 90


@settings(max_examples=30, deadline=None)
@given(st.lists(ATTEMPTS, max_size=12))
def test_trap_25_a_rotation_ends_whatever_happens_to_its_leaders(
    attempts: list[tuple[int, str, int, bool]],
) -> None:
    asyncio.run(live(attempts))
