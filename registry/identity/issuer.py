"""The cluster's CA at work: its root in the catalog, and leaves for instances and services."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import Issued, issue_leaf, issue_leaf_for_key, new_root
from ca.bundle import describe, read_der
from ca.provider import KeyProvider, private_pem
from weft.clock import Clock
from weft.spiffe import SpiffeId

from ..agent.writer import Entropy, Writer
from ..catalog import commands
from ..catalog.model import CaRoot, CredentialRecord, Service
from ..catalog.state import State
from ..replica.port import Log
from .errors import KeyMismatch, SignTooOften, Unauthenticated
from .rate import RateLimit
from .serial import new_serial

SIGN_PER_S = 0.5  # of one instance: a sidecar renews once in half a TTL, 5 s at the shortest
SIGN_BURST = 10
SIGN_TOTAL_PER_S = 200.0  # of all: at about 1 ms a certificate, a fifth of one core
SIGN_TOTAL_BURST = 2000  # every sidecar of a large machine park may come back at once


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a caller gets: the leaf, the chain without the root (DER, leaf first), and its identity."""

    issued: Issued
    chain_der: tuple[bytes, ...]
    identity: SpiffeId


class Issuer:
    """Signs with the key of `provider` under the catalog's active root."""

    def __init__(
        self,
        log: Log,
        writer: Writer,
        provider: KeyProvider,
        clock: Clock,
        entropy: Entropy,
        leaf_ttl: timedelta,
    ) -> None:
        self._log = log
        self._writer = writer
        self._provider = provider
        self._clock = clock
        self._entropy = entropy
        self._leaf_ttl = leaf_ttl
        self._each = RateLimit(SIGN_PER_S, SIGN_BURST)
        self._all = RateLimit(SIGN_TOTAL_PER_S, SIGN_TOTAL_BURST)

    async def ensure_root(self, trust_domain: str) -> None:
        """Makes the first root, or checks that the key is the root's. Raises KeyMismatch, KeyUnusable."""
        state = self._log.view()
        root = active_root(state, trust_domain)
        if root is not None:
            known = read_der(root.certificate_der).public_key()
            if known != self._provider.key().public_key():
                raise KeyMismatch(
                    "the CA key is not the key of the catalog's root: restore both from one backup"
                )
            return
        certificate = new_root(trust_domain, self._provider.key(), new_serial(self._entropy), self._now())
        row = _root_row(trust_domain, certificate)
        await self._writer.propose(lambda stamp: commands.set_roots(stamp, [row], state.roots_epoch))

    async def sign(self, record: CredentialRecord, csr_der: bytes) -> Leaf:
        """A leaf for the instance that the credential is bound to; names inside the CSR are ignored.

        Recorded in the catalog, fenced by the credential and the roots' epoch, before it is answered.
        Raises Unauthenticated, SignTooOften, CsrRefused, IssueRefused, and what Log.propose raises.
        """
        self._spend(record.instance_key)
        await self._log.read_index()
        state = self._log.view()
        service = state.instance(record.instance_key).rows
        if service is None:
            raise Unauthenticated("the instance is not registered any more")
        root, identity = self._root(state), identity_of(state, service)
        certificate = read_der(root.certificate_der)
        issued = issue_leaf(
            certificate,
            self._provider.key(),
            csr_der,
            identity,
            new_serial(self._entropy),
            self._now(),
            self._leaf_ttl,
        )
        await self._record(record, issued, state.roots_epoch)
        return Leaf(issued, (issued.leaf_der, *root.intermediates_der), identity)

    async def _record(self, record: CredentialRecord, issued: Issued, epoch: int) -> None:
        not_after_ms = int(issued.not_after.timestamp() * 1000)
        await self._writer.propose(
            lambda stamp: commands.record_leaf(
                stamp, record.instance_key, record.digest, issued.serial, not_after_ms, roots_epoch=epoch
            )
        )

    def issue_with_key(self, service: str) -> tuple[Leaf, bytes]:
        """A leaf and its private key (PEM) for a service by name: Consul's `ca/leaf` contract (trap 2).

        Raises SignTooOften, InvalidSpiffeId, IssueRefused.
        """
        self._spend(f"leaf/{service}")
        state = self._log.view()
        root = self._root(state)
        key = ec.generate_private_key(ec.SECP256R1())
        identity = SpiffeId(root.trust_domain, _datacenter(state), service)
        issued = issue_leaf_for_key(
            read_der(root.certificate_der),
            self._provider.key(),
            key.public_key(),
            identity,
            new_serial(self._entropy),
            self._now(),
            self._leaf_ttl,
        )
        return Leaf(issued, (issued.leaf_der, *root.intermediates_der), identity), private_pem(key)

    def _spend(self, key: str) -> None:
        now = self._clock.monotonic()
        if not self._each.take(key, now) or not self._all.take("", now):
            raise SignTooOften("Rate limit reached, try again later")

    def _root(self, state: State) -> CaRoot:
        root = active_root(state, state.cluster.trust_domain if state.cluster else "")
        if root is None:
            raise KeyMismatch("the catalog has no active root: start the registry again")
        return root

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def active_root(state: State, trust_domain: str) -> CaRoot | None:
    """The root that signs, None before the first start."""
    return next(
        (row for row in state.ca_roots().rows if row.active and row.trust_domain == trust_domain), None
    )


def identity_of(state: State, service: Service) -> SpiffeId:
    """The SPIFFE id that an instance may bear: of the service that it, or its application, is."""
    trust_domain = state.cluster.trust_domain if state.cluster else ""
    return SpiffeId(trust_domain, service.datacenter, service.connects_to or service.name)


def _datacenter(state: State) -> str:
    return state.cluster.datacenter if state.cluster else ""


def _root_row(trust_domain: str, certificate: x509.Certificate) -> CaRoot:
    der = certificate.public_bytes(Encoding.DER)
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
    )
