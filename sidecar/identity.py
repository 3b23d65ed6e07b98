"""The sidecar's own X.509-SVID. Its key is made here and never leaves this process, except into the
state directory (mode 0600) where the operator asked for one.
"""

import asyncio
import contextlib
import math
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weft import tls
from weft.clock import Clock
from weft.pb.mesh.v1 import mesh_pb2
from weft.spiffe import SpiffeId
from weft.svid import Peer, UntrustedPeer, Verifier, spiffe_id

from .errors import RegistryUnreachable
from .policy.renewal import backoff_s, renewal_after_rotation, renewal_at
from .telemetry import Telemetry

SLEEP_MAX_S = 15.0  # wall clocks jump (suspended machines): look at it at least this often

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """What new connections are made with, for one leaf, one set of trust bundles, one set of revocations.

    `not_after` is when our leaf expires, seconds since the Unix epoch. `verify` takes the peer's chain
    (DER, leaf first) after the handshake and answers who it is; `peer` adds the leaf's serial and end.
    Both raise weft.svid.UntrustedPeer. OpenSSL alone cannot decide that: it would accept any loaded root
    for any trust domain.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    not_after: float
    verify: Callable[[Sequence[bytes]], SpiffeId]
    peer: Callable[[Sequence[bytes]], Peer]
    svid: "Svid"  # that they were made of


@dataclass(frozen=True, slots=True)
class Svid:
    """One certificate with its key. Times are seconds since the Unix epoch."""

    key_pem: bytes = field(repr=False)
    chain_der: tuple[bytes, ...] = field(repr=False)  # leaf first, without the root
    identity: SpiffeId
    not_after: float
    renew_at: float
    signer: bytes = b""  # subject key identifier of the root or intermediate that signed it

    @property
    def chain_pem(self) -> bytes:
        return "".join(ssl.DER_cert_to_PEM_cert(der) for der in self.chain_der).encode()


Sign = Callable[[bytes], Awaitable[mesh_pb2.SignCertificateResponse]]


class Identity:
    """Obtains certificates by `sign` (CSR in DER to answer), and the next one before the last is old."""

    def __init__(self, sign: Sign, clock: Clock, rng: random.Random, telemetry: Telemetry) -> None:
        self._sign = sign
        self._clock = clock
        self._rng = rng
        self._telemetry = telemetry
        self._renew_at = math.inf
        self._sooner = asyncio.Event()
        self._hurried_for: bytes = b""

    def signed_by(self, svid: Svid, signing_key_id: bytes) -> None:
        """Told which root signs now. Where it is not the one that signed `svid`, renews soon."""
        if not signing_key_id or not svid.signer or svid.signer == signing_key_id:
            return
        if self._hurried_for == signing_key_id + svid.signer:
            return  # the time is drawn once, or every change of the configuration would draw again
        self._hurried_for = signing_key_id + svid.signer
        soon = renewal_after_rotation(self._clock.wall(), svid.not_after, self._rng.random())
        log.info("the signing root has changed", renew_at=_iso(soon))
        self._renew_at = min(self._renew_at, soon)
        self._sooner.set()

    async def obtain(self) -> Svid:
        """A new key and its certificate. Raises RegistryUnreachable, CredentialRejected."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            answer = await self._sign(_csr(key))
            svid = read_answer(key, answer.chain_der, self._clock.wall(), self._rng.random())
        except Exception:
            self._telemetry.certificate_failures += 1
            raise
        self._telemetry.certificate_renewals += 1
        log.info("certificate obtained", spiffe_id=svid.identity.uri, not_after=_iso(svid.not_after))
        return svid

    async def keep_fresh(self, svid: Svid, take: Callable[[Svid], None]) -> None:
        """Renews for ever, handing each new certificate to `take`. Raises CredentialRejected."""
        while True:
            self._renew_at = min(self._renew_at, svid.renew_at)
            await self._until_due()
            self._renew_at = math.inf
            svid = await self._renewed()
            take(svid)

    async def _renewed(self) -> Svid:
        failures = 0
        while True:
            try:
                return await self.obtain()
            except RegistryUnreachable as error:
                failures += 1
                log.warning("certificate not renewed", error=str(error), failures=failures)
                await asyncio.sleep(backoff_s(failures, self._rng.random()))

    async def _until_due(self) -> None:
        while (left := self._renew_at - self._clock.wall()) > 0:
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, SLEEP_MAX_S)):
                    await self._sooner.wait()


def read_answer(
    key: ec.EllipticCurvePrivateKey, chain_der: Sequence[bytes], received_at: float, draw: float
) -> Svid:
    """The certificate as signed. Raises RegistryUnreachable when it is not one for `key`."""
    try:
        leaf = x509.load_der_x509_certificate(chain_der[0])
        identity = spiffe_id(leaf)
    except (IndexError, ValueError, UntrustedPeer) as error:
        raise RegistryUnreachable(f"registry signed something unusable ({error})") from error
    if leaf.public_key() != key.public_key():
        raise RegistryUnreachable("registry signed another key than ours")
    not_after = leaf.not_valid_after_utc.timestamp()
    return Svid(
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        chain_der=tuple(chain_der),
        identity=identity,
        not_after=not_after,
        renew_at=renewal_at(received_at, not_after, draw),
        signer=_signer(leaf),
    )


def svid_of_pem(pem: bytes, now: float) -> Svid:
    """What `chain_pem + key_pem` says; due for renewal at `now`. Raises ValueError, RegistryUnreachable."""
    chain = [
        certificate.public_bytes(serialization.Encoding.DER)
        for certificate in x509.load_pem_x509_certificates(pem)
    ]
    key = serialization.load_pem_private_key(pem[pem.index(b"-----BEGIN PRIVATE KEY-----") :], None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is not an EC key")
    return replace(read_answer(key, chain, received_at=now, draw=0.0), renew_at=now)


def _signer(leaf: x509.Certificate) -> bytes:
    """Whose key signed it; b"" where it does not say."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return b""
    return names.key_identifier or b""


def tls_contexts(
    svid: Svid,
    bundles: Mapping[str, Sequence[bytes]],
    revoked: frozenset[tuple[str, int]],
    clock: Clock,
) -> TlsContexts:
    """New contexts: one that exists can neither forget a root nor be given another leaf safely.

    Raises weft.errors.ConfigError on unusable material.
    """
    roots = [ssl.DER_cert_to_PEM_cert(root).encode() for roots in bundles.values() for root in roots]
    verifier = Verifier(bundles, revoked)

    def peer(chain_der: Sequence[bytes]) -> Peer:
        return verifier.peer(chain_der, datetime.fromtimestamp(clock.wall(), UTC))

    return TlsContexts(
        server=tls.server_context(svid.chain_pem, svid.key_pem, roots),
        client=tls.client_context(svid.chain_pem, svid.key_pem, roots),
        not_after=svid.not_after,
        verify=lambda chain_der: peer(chain_der).identity,
        peer=peer,
        svid=svid,
    )


def _csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Names nobody: the credential says who we are."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
