"""Verifying a peer by its X.509-SVID (SPIFFE X.509-SVID standard, section 5).

TLS itself accepts a leaf under *any* loaded root. Here the chain must end in a root of the leaf's own
trust domain, or one cluster's CA could speak for another's services.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification

from .errors import ConfigError, WeftError
from .limits import BUNDLE_ROOTS_MAX, CERTIFICATE_BYTES_MAX, CHAIN_LENGTH_MAX
from .spiffe import AgentId, InvalidSpiffeId, SpiffeId


class UntrustedPeer(WeftError):
    """Expected. The peer did not prove an identity; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a verified chain proves. `not_after_unix_s` is the end of the leaf, in seconds."""

    identity: SpiffeId
    serial: int
    not_after_unix_s: float


@dataclass(frozen=True, slots=True)
class AgentPeer:
    """As Peer, of a node's agent."""

    identity: AgentId
    serial: int
    not_after_unix_s: float


class Verifier:
    """Checks chains against one set of bundles. Immutable: a changed bundle needs a new one.

    `bundles` maps a trust domain to its roots (DER); `revoked` holds (trust domain, serial) of leaves
    refused before they expire. Raises ConfigError when a root cannot be read.
    """

    def __init__(
        self,
        bundles: Mapping[str, Sequence[bytes]],
        revoked: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        self._stores = {domain: _store(domain, roots) for domain, roots in bundles.items() if roots}
        self._revoked = revoked

    def verify(self, chain_der: Sequence[bytes], now: datetime) -> SpiffeId:
        """The identity that the chain (leaf first) proves at `now` (aware). Raises UntrustedPeer."""
        return self.peer(chain_der, now).identity

    def peer(self, chain_der: Sequence[bytes], now: datetime) -> Peer:
        """As `verify`, with the leaf's serial and end. Raises UntrustedPeer."""
        leaf, *intermediates = _parse(chain_der)
        identity = spiffe_id(leaf)
        self._check(leaf, intermediates, identity, now)
        return Peer(identity, leaf.serial_number, leaf.not_valid_after_utc.timestamp())

    def agent(self, chain_der: Sequence[bytes], now: datetime) -> AgentPeer:
        """The agent that the chain proves; a service's certificate proves none. Raises UntrustedPeer."""
        leaf, *intermediates = _parse(chain_der)
        identity = _agent_id(leaf)
        self._check(leaf, intermediates, identity, now)
        return AgentPeer(identity, leaf.serial_number, leaf.not_valid_after_utc.timestamp())

    def _check(
        self,
        leaf: x509.Certificate,
        intermediates: list[x509.Certificate],
        identity: SpiffeId | AgentId,
        now: datetime,
    ) -> None:
        store = self._stores.get(identity.trust_domain)
        if store is None:
            raise UntrustedPeer(f"no trust bundle for {identity.trust_domain}, the peer says {identity}")
        _check_path(store, leaf, intermediates, identity, now)
        if (identity.trust_domain, leaf.serial_number) in self._revoked:
            raise UntrustedPeer(f"the certificate of {identity}, serial {leaf.serial_number:x}, is revoked")


def spiffe_id(leaf: x509.Certificate) -> SpiffeId:
    """The SPIFFE id of a leaf: its only URI SAN (X.509-SVID 2). Proves nothing by itself.

    Raises UntrustedPeer when there is none, more than one, or no service id.
    """
    try:
        return SpiffeId.parse(_only_uri(leaf))
    except InvalidSpiffeId as error:
        raise UntrustedPeer(f"the certificate's URI name: {error}") from error


def _agent_id(leaf: x509.Certificate) -> AgentId:
    try:
        return AgentId.parse(_only_uri(leaf))
    except InvalidSpiffeId as error:
        raise UntrustedPeer(f"the certificate's URI name: {error}") from error


def _only_uri(leaf: x509.Certificate) -> str:
    uris = _uri_names(leaf)
    if len(uris) != 1:
        raise UntrustedPeer(f"the certificate has {len(uris)} URI names; an X.509-SVID has exactly one")
    return uris[0]


def _store(domain: str, roots: Sequence[bytes]) -> verification.Store:
    if len(roots) > BUNDLE_ROOTS_MAX:
        raise ConfigError(f"trust bundle of {domain}: {len(roots)} roots, the most is {BUNDLE_ROOTS_MAX}")
    try:
        return verification.Store([x509.load_der_x509_certificate(root) for root in roots])
    except ValueError as error:
        raise ConfigError(f"trust bundle of {domain}: a root is not a DER certificate ({error})") from error


def _parse(chain_der: Sequence[bytes]) -> list[x509.Certificate]:
    if not chain_der:
        raise UntrustedPeer("the peer presented no certificate")
    if len(chain_der) > CHAIN_LENGTH_MAX:
        raise UntrustedPeer(
            f"the peer's chain has {len(chain_der)} certificates, the most is {CHAIN_LENGTH_MAX}"
        )
    if any(len(der) > CERTIFICATE_BYTES_MAX for der in chain_der):
        raise UntrustedPeer(f"a certificate of the peer is over {CERTIFICATE_BYTES_MAX} bytes")
    try:
        return [x509.load_der_x509_certificate(der) for der in chain_der]
    except ValueError as error:
        raise UntrustedPeer(f"the peer's certificate cannot be parsed ({error})") from error


def _check_path(
    store: verification.Store,
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    identity: SpiffeId | AgentId,
    now: datetime,
) -> None:
    verifier = (
        verification.PolicyBuilder()
        .store(store)
        .time(now)
        .max_chain_depth(CHAIN_LENGTH_MAX)
        .extension_policies(ca_policy=_SIGNING, ee_policy=_LEAF)
        .build_client_verifier()
    )
    try:
        path = verifier.verify(leaf, intermediates).chain
    except (verification.VerificationError, ValueError) as error:
        raise UntrustedPeer(f"the certificate of {identity} does not verify: {_one_line(error)}") from error
    for signer in path[1:]:
        # X.509-SVID 3.1: a signing certificate may itself bear an id, which is that of its trust domain.
        for uri in _uri_names(signer):
            if uri != f"spiffe://{identity.trust_domain}":
                raise UntrustedPeer(f"the certificate of {identity} is signed by {uri[:200]}")


def _uri_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:
        raise UntrustedPeer(f"the certificate's extensions cannot be parsed ({error})") from error
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _leaf_key_usage(policy: verification.Policy, certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    """X.509-SVID 4.3: a leaf signs handshakes, and neither certificates nor lists."""
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise ValueError("key usage of a leaf is digitalSignature, and never keyCertSign or cRLSign")


def _any_names(
    policy: verification.Policy, certificate: x509.Certificate, names: x509.SubjectAlternativeName
) -> None:
    """Which names is decided by `spiffe_id`; other CAs mark the extension critical or not."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


_LEAF = (
    verification.ExtensionPolicy.webpki_defaults_ee()
    .require_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, _any_names)
    .require_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _leaf_key_usage)
)
_SIGNING = verification.ExtensionPolicy.webpki_defaults_ca()
