"""Carries the CA from step to step on whichever server leads (ca/rotation.py has the table).

Reads the state, proposes the next step with the index that it decided by, and looks again. Keys and
certificates are made here, outside of `apply`; a leader that is replaced meanwhile loses the
compare-and-set, and what it made was never used.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import cross_sign, key_identifier, new_root
from ca.bundle import describe, read_der
from ca.provider import KeyProvider
from ca.rotation import Phase, Step, due_ms, next_step
from ca.sealing import NONCE_BYTES
from weft.errors import WeftError, invariant
from weft.pb.catalog.v1.command_pb2 import Command

from ..agent.writer import Entropy, Writer
from ..audit.event import Event, Outcome
from ..audit.log import Audit, Unaudited
from ..catalog import commands, watches
from ..catalog.commands import Stamp
from ..catalog.model import Authority, CaRoot
from ..catalog.state import State
from ..errors import Conflict
from ..replica.port import Log
from .errors import KeyMismatch
from .serial import new_serial
from .signing_key import SigningKey

LOOK_S = 1.0  # a new leader looks within this; a rotation lasts hours
MS = timedelta(milliseconds=1)
_Build = Callable[[Stamp], Command]

log = structlog.get_logger(__name__)


class Rotation:
    """The leader's part of the CA's life. `adopted`: the key of a root from before keys were in the log."""

    def __init__(
        self,
        replica: Log,
        writer: Writer,
        signing: SigningKey,
        entropy: Entropy,
        adopted: KeyProvider | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._log = replica
        self._writer = writer
        self._signing = signing
        self._entropy = entropy
        self._adopted = adopted
        self._audit = audit or Unaudited()

    async def ensure(self, leaf_ttl: timedelta | None) -> None:
        """On the leader, at its start: a root that signs, the key opened, and leaves of this life.

        Raises KeyUnusable, KeyMismatch, IssueRefused, and what Log.propose raises.
        """
        await self._set_leaf_ttl(leaf_ttl)
        while self._log.view().ca().rows.phase is Phase.EMPTY:
            await self.step()
        self._signing.of(self._log.view())

    async def _set_leaf_ttl(self, leaf_ttl: timedelta | None) -> None:
        row = self._log.view().ca().rows
        if leaf_ttl is None or leaf_ttl // MS == row.settings.leaf_ttl_ms:
            return
        settings = row.settings.with_leaf_ttl(leaf_ttl // MS)
        await self._writer.propose(lambda stamp: commands.configure_ca(stamp, settings))

    async def run(self) -> None:
        """For ever: takes each step when it is due, while this server leads."""
        while True:
            try:
                if self._log.status().is_leader:
                    await self._settle()
                await self._until_next()
            except WeftError as error:
                log.warning("the CA's next step is not taken", error=str(error))
                await asyncio.sleep(LOOK_S)

    async def _settle(self) -> None:
        while await self.step():
            pass

    async def _until_next(self) -> None:
        state = self._log.view()
        position = state.ca().rows.position(state.active_root())
        left_s = (due_ms(position) - self._writer.now_ms()) / 1000
        wait_s = min(left_s, LOOK_S) if left_s > 0 else LOOK_S
        await self._log.wait((watches.AUTHORITY,), state.index, wait_s)

    async def step(self) -> bool:
        """Takes one step if one is due; whether it did, or another leader has. Raises as `ensure`."""
        await self._log.read_index()
        state = self._log.view()
        row, now_ms = state.ca().rows, self._writer.now_ms()
        step = next_step(row.position(state.active_root()), now_ms)
        if step is None:
            return await self._reseal(state, row)
        build = self._build(step, state, row, datetime.fromtimestamp(now_ms / 1000, UTC))
        try:
            done = await self._writer.propose(build)
        except Conflict:
            return True  # somebody was quicker: look again
        root = _active_id(self._log.view())
        log.info("CA step taken", step=step.value, root=root)
        detail = {"step": step.value}
        self._audit.record(Event("CA step", Outcome.DONE, root, index=done.index, detail=detail))
        return True

    def _build(self, step: Step, state: State, row: Authority, now: datetime) -> _Build:
        expected = row.indexes.modify
        match step:
            case Step.INSTALL:
                return self._install(state, row, now)
            case Step.REQUEST:
                return lambda stamp: commands.configure_ca(
                    stamp, row.settings, rotate=True, expected_index=expected
                )
            case Step.SWITCH:
                return self._switch(state, row, now)
            case Step.RETIRE:
                return lambda stamp: commands.retire_roots(stamp, expected)

    def _install(self, state: State, row: Authority, now: datetime) -> _Build:
        known = state.active_root()
        if known is not None:
            return self._adopt(state, row, known)
        key = ec.generate_private_key(ec.SECP256R1())
        return self._activate(state, row, key, self._new_root(state, row, key, now), ())

    def _adopt(self, state: State, row: Authority, root: CaRoot) -> _Build:
        if self._adopted is None:
            raise KeyMismatch("the key of the catalog's root is missing: restore keys/ca.key from a backup")
        key, certificate = self._adopted.key(), read_der(root.certificate_der)
        if certificate.public_key() != key.public_key():
            raise KeyMismatch("the CA key is not the key of the catalog's root: restore both from one backup")
        return self._activate(state, row, key, certificate, ())

    def _switch(self, state: State, row: Authority, now: datetime) -> _Build:
        old = state.active_root()
        invariant(old is not None, "a rotation was asked for where there is no root")
        assert old is not None  # for the type checker
        key = ec.generate_private_key(ec.SECP256R1())
        root, before = self._new_root(state, row, key, now), read_der(old.certificate_der)
        crossed: tuple[x509.Certificate, ...] = ()
        if now < before.not_valid_after_utc:  # a root that is over vouches for nobody; no leaf of it is left
            crossed = (cross_sign(root, before, self._signing.of(state), new_serial(self._entropy), now),)
        return self._activate(state, row, key, root, crossed)

    def _new_root(
        self, state: State, row: Authority, key: ec.EllipticCurvePrivateKey, now: datetime
    ) -> x509.Certificate:
        domain = state.cluster.trust_domain if state.cluster else ""
        ttl = timedelta(milliseconds=row.settings.root_ttl_ms)
        return new_root(domain, key, new_serial(self._entropy), now, ttl)

    def _activate(
        self,
        state: State,
        row: Authority,
        key: ec.EllipticCurvePrivateKey,
        root: x509.Certificate,
        crossed: tuple[x509.Certificate, ...],
    ) -> _Build:
        cluster = state.cluster
        invariant(cluster is not None, "the cluster is named before its CA")
        assert cluster is not None  # for the type checker
        described = root_row(cluster.trust_domain, root, crossed)
        key_id = key_identifier(key.public_key()).hex()
        sealed = self._signing.keyring.seal(key, cluster.id, key_id, self._entropy(NONCE_BYTES))
        return lambda stamp: commands.activate_root(stamp, described, sealed, row.indexes.modify)

    async def _reseal(self, state: State, row: Authority) -> bool:
        """Encrypts the key anew when the operator has put another key first. Whether it did."""
        keyring, cluster = self._signing.keyring, state.cluster
        if row.key is None or cluster is None or keyring.is_current(row.key):
            return False
        key = keyring.open(row.key, cluster.id)
        sealed = keyring.seal(key, cluster.id, row.key.key_id, self._entropy(NONCE_BYTES))
        try:
            await self._writer.propose(lambda stamp: commands.reseal_key(stamp, sealed, row.indexes.modify))
        except Conflict:
            return True
        log.info("CA key sealed anew", sealed_by=sealed.sealed_by)
        return True


def root_row(trust_domain: str, root: x509.Certificate, crossed: tuple[x509.Certificate, ...]) -> CaRoot:
    """A root that signs, as the catalog has it; `crossed` goes into the chains of its leaves."""
    der = root.public_bytes(Encoding.DER)
    told = describe(der)
    return CaRoot(
        id=told.id,
        name=told.name,
        trust_domain=trust_domain,
        certificate_der=der,
        serial_number=str(told.serial),
        signing_key_id=told.signing_key_id,
        not_before_ms=int(told.not_before.timestamp() * 1000),
        not_after_ms=int(told.not_after.timestamp() * 1000),
        intermediates_der=tuple(certificate.public_bytes(Encoding.DER) for certificate in crossed),
    )


def _active_id(state: State) -> str:
    root = state.active_root()
    return root.id if root else ""
