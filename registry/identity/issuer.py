"""The cluster's CA at work: leaves for instances and services, signed on the leader.

Outside of `apply`, after a read-index, and fenced: a leaf is recorded in the catalog before it is handed
out, and the record is refused when the credential or the roots have changed meanwhile (trap 25).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import Issued, PublicKey, csr_public_key, issue_leaf_for_key
from ca.bundle import read_der
from ca.provider import private_pem
from weft.clock import Clock
from weft.pb.catalog.v1.command_pb2 import Command
from weft.spiffe import AgentId, SpiffeId

from ..agent.writer import Entropy, Writer
from ..catalog import commands
from ..catalog.commands import Stamp
from ..catalog.model import CredentialRecord, Service
from ..catalog.state import State
from ..errors import Conflict, NotReady
from ..limits.rate import RateLimit
from ..replica.port import Log
from .errors import KeyMismatch, SignTooOften, Unauthenticated
from .serial import new_serial
from .signing_key import SigningKey

SIGN_PER_S = 0.5  # of one instance: a sidecar renews once in half a TTL, 5 s at the shortest
SIGN_BURST = 10
SIGN_TOTAL_BURST_S = 10  # every sidecar of a large machine park may come back at once
FENCED_ATTEMPTS = 3  # the roots change twice in a rotation


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a caller gets: the leaf, the chain without the root (DER, leaf first), and its identity."""

    issued: Issued
    chain_der: tuple[bytes, ...]
    identity: SpiffeId | AgentId
    signing_key_id: str  # of the root that signed


class Issuer:
    """Signs with the key of the catalog's active root."""

    def __init__(self, log: Log, writer: Writer, signing: SigningKey, clock: Clock, entropy: Entropy) -> None:
        self._log = log
        self._writer = writer
        self._signing = signing
        self._clock = clock
        self._entropy = entropy
        self._each = RateLimit(SIGN_PER_S, SIGN_BURST)
        self._all: tuple[int, RateLimit] = (0, RateLimit(0, 0))

    async def sign(self, record: CredentialRecord, csr_der: bytes) -> Leaf:
        """A leaf for the instance that the credential is bound to; names inside the CSR are ignored.

        Raises Unauthenticated, SignTooOften, CsrRefused, IssueRefused, KeyUnusable, and what Log.propose
        raises; NotReady also where this server does not lead.
        """
        self.spend(record.instance_key)
        key = csr_public_key(csr_der)

        async def attempt() -> Leaf:
            state = self._log.view()
            service = state.instance(record.instance_key).rows
            if service is None:
                raise Unauthenticated("the instance is not registered any more")
            leaf = self.issue(state, key, identity_of(state, service))
            await self._record(leaf, state.roots_epoch, record)
            return leaf

        return await self._fenced(attempt)

    async def issue_with_key(self, service: str) -> tuple[Leaf, bytes]:
        """A leaf and its private key (PEM) for a service by name: Consul's `ca/leaf` contract (trap 2).

        Raises InvalidSpiffeId, and as `sign`.
        """
        self.spend(f"leaf/{service}")
        key = ec.generate_private_key(ec.SECP256R1())

        async def attempt() -> Leaf:
            state = self._log.view()
            cluster = state.cluster
            if cluster is None:
                raise KeyMismatch("the cluster has no name yet: wait until a leader has given it one")
            identity = SpiffeId(cluster.trust_domain, cluster.datacenter, service)
            leaf = self.issue(state, key.public_key(), identity)
            await self._record_service(service, leaf, state.roots_epoch)
            return leaf

        return await self._fenced(attempt), private_pem(key)

    async def _fenced(self, attempt: Callable[[], Awaitable[Leaf]]) -> Leaf:
        """Signs again where the roots have changed between signature and record."""
        left = FENCED_ATTEMPTS
        while True:
            await self._log.read_index()
            status = self._log.status()
            if not status.is_leader:
                raise NotReady(f"certificates are signed by the leader ({status.leader or 'none now'})")
            try:
                return await attempt()
            except Conflict:
                left -= 1
                if not left:
                    raise

    def issue(self, state: State, key: PublicKey, identity: SpiffeId | AgentId) -> Leaf:
        """A certificate by the root that signs in this state; to be recorded before it is handed out.

        Raises KeyMismatch, KeyUnusable, IssueRefused.
        """
        root = state.active_root()
        if root is None:
            raise KeyMismatch("the CA has no root yet: wait until a leader has made one")
        issued = issue_leaf_for_key(
            read_der(root.certificate_der),
            self._signing.of(state),
            key,
            identity,
            new_serial(self._entropy),
            datetime.fromtimestamp(self._clock.wall(), UTC),
            timedelta(milliseconds=state.ca().rows.settings.leaf_ttl_ms),
        )
        return Leaf(issued, (issued.leaf_der, *root.intermediates_der), identity, root.signing_key_id)

    async def _record(self, leaf: Leaf, epoch: int, record: CredentialRecord) -> None:
        serial, end = leaf.issued.serial, ends_ms(leaf)

        def build(stamp: Stamp) -> Command:
            return commands.record_leaf(
                stamp, record.instance_key, record.digest, serial, end, roots_epoch=epoch
            )

        await self._writer.propose(build)

    async def _record_service(self, name: str, leaf: Leaf, epoch: int) -> None:
        serial, end = leaf.issued.serial, ends_ms(leaf)
        await self._writer.propose(
            lambda stamp: commands.record_service_leaf(stamp, name, serial, end, epoch)
        )

    def spend(self, key: str) -> None:
        """Counts a request of `key`. Raises SignTooOften."""
        now, most = self._clock.monotonic(), self._log.view().ca().rows.settings.csr_per_s_max
        if most != self._all[0]:
            self._all = (most, RateLimit(most, most * SIGN_TOTAL_BURST_S))
        allowed = self._each.take(key, now) and (most == 0 or self._all[1].take("", now))
        if not allowed:
            raise SignTooOften("Rate limit reached, try again later")


def identity_of(state: State, service: Service) -> SpiffeId:
    """The SPIFFE id that an instance may bear: of the service that it, or its application, is."""
    trust_domain = state.cluster.trust_domain if state.cluster else ""
    return SpiffeId(trust_domain, service.datacenter, service.connects_to or service.name)


def ends_ms(leaf: Leaf) -> int:
    """When the leaf ends, in Unix milliseconds."""
    return int(leaf.issued.not_after.timestamp() * 1000)
