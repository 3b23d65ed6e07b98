"""Sans-IO. The mesh's certificates: one root per trust domain, one leaf per service instance or agent.

The profile is SPIFFE's X.509-SVID; sections are cited where a rule comes from it. Serial numbers, keys
and the time are arguments, so equal arguments give equal content (ECDSA signatures differ).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.limits import CLOCK_SKEW_S, CSR_BYTES_MAX
from weft.spiffe import AgentId, SpiffeId

from .errors import CsrRefused, IssueRefused

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

RSA_BITS_MIN = 2048
RSA_BITS_MAX = 4096  # verifying larger keys is a way to burn the CPU of every peer
LEAF_TTL_DEFAULT = timedelta(hours=72)
LEAF_TTL_MIN = timedelta(seconds=10)  # below it, renewing at half of life leaves no time to retry
LEAF_TTL_MAX = timedelta(days=366)
ROOT_TTL_DEFAULT = timedelta(days=3650)
SERIAL_MAX = 2**159 - 1  # RFC 5280, 4.1.2.2: positive, at most 20 octets


@dataclass(frozen=True, slots=True)
class Issued:
    """A new leaf, and what the registry records of it. Times are aware UTC, whole seconds."""

    leaf_der: bytes
    serial: int
    not_before: datetime
    not_after: datetime


def new_root(
    trust_domain: str,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime,
    ttl: timedelta = ROOT_TTL_DEFAULT,
) -> x509.Certificate:
    """The self-signed signing certificate of a trust domain (X.509-SVID 3.1 and 4).

    Raises IssueRefused on a bad serial or lifetime, InvalidSpiffeId on a bad trust domain.
    """
    SpiffeId(trust_domain, "dc", "service")  # refuses a trust domain that no leaf could bear
    # One certificate may stand between root and leaf: a successor's root, cross-signed in a rotation.
    builder = signing_certificate(_root_name(trust_domain, key), key, serial, now, ttl, path_length=1)
    return builder.add_extension(_domain_name(trust_domain), critical=False).sign(key, hashes.SHA256())


def cross_sign(
    successor: x509.Certificate,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime,
) -> x509.Certificate:
    """The successor's name and key, signed by the root that it follows (RFC 4158, 1.5.1).

    In a leaf's chain it lets those verify the successor's leaves who know the old root only. It ends with
    the earlier of the two. Raises IssueRefused when they are not of one trust domain, or the root is over.
    """
    domain = _trust_domain(root)
    if _trust_domain(successor) != domain or not domain:
        raise IssueRefused("cross-signing: the two roots are not of one trust domain")
    if not root.not_valid_before_utc <= now < root.not_valid_after_utc:
        raise IssueRefused(f"the root is not valid at {now:%Y-%m-%dT%H:%M:%SZ}: it can vouch for none")
    _check_serial(serial)
    key = successor.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise IssueRefused("cross-signing: the successor's key is not an EC key")
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _signing_profile(key, serial, path_length=0)
        .subject_name(successor.subject)
        .issuer_name(root.subject)
        .not_valid_before(max(successor.not_valid_before_utc, root.not_valid_before_utc))
        .not_valid_after(min(successor.not_valid_after_utc, root.not_valid_after_utc))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .add_extension(_domain_name(domain), critical=False)
        .sign(root_key, hashes.SHA256())
    )


def issue_leaf(
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    csr_der: bytes,
    identity: SpiffeId | AgentId,
    serial: int,
    now: datetime,
    ttl: timedelta = LEAF_TTL_DEFAULT,
) -> Issued:
    """Signs the public key of a CSR for `identity`. Every name and extension in the CSR is ignored.

    Raises CsrRefused and IssueRefused.
    """
    return issue_leaf_for_key(root, root_key, csr_public_key(csr_der), identity, serial, now, ttl)


def issue_leaf_for_key(
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    public_key: PublicKey,
    identity: SpiffeId | AgentId,
    serial: int,
    now: datetime,
    ttl: timedelta = LEAF_TTL_DEFAULT,
) -> Issued:
    """As `issue_leaf`, for a key whose possession is known otherwise. Raises IssueRefused."""
    owner = _trust_domain(root)
    if owner != identity.trust_domain:
        raise IssueRefused(f"the root of {owner} cannot issue for {identity}; use that domain's own root")
    uri = x509.UniformResourceIdentifier(identity.uri)
    # No subject, no common name: the URI is the only identity. The extension is then critical
    # (RFC 5280, 4.2.1.6).
    builder = leaf_certificate(root, public_key, x509.Name([]), serial, now, ttl)
    signed = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=True).sign(
        root_key, hashes.SHA256()
    )
    return issued(signed)


def csr_public_key(csr_der: bytes) -> PublicKey:
    """The key of a CSR (PKCS#10, DER) whose sender has shown to hold its private half.

    Raises CsrRefused when the CSR is malformed, not signed by that key, or the key is weak.
    """
    if len(csr_der) > CSR_BYTES_MAX:
        raise CsrRefused(f"certificate request of {len(csr_der)} bytes, the most is {CSR_BYTES_MAX}")
    try:
        csr = x509.load_der_x509_csr(csr_der)
        key = csr.public_key()
        authentic = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CsrRefused("certificate request cannot be read; send PKCS#10 as DER") from error
    if not authentic:
        raise CsrRefused("certificate request is not signed by the key it carries; sign it with that key")
    return _acceptable(key)


def signing_certificate(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime,
    ttl: timedelta,
    path_length: int,
) -> x509.CertificateBuilder:
    """What every root says (X.509-SVID 4.1-4.3): a CA that signs certificates and nothing else."""
    _check_serial(serial)
    if ttl <= timedelta(0):
        raise IssueRefused(f"root lifetime {ttl}: must be positive")
    public = key.public_key()
    return (
        _signing_profile(public, serial, path_length)
        .subject_name(name)
        .issuer_name(name)
        .not_valid_before(_backdated(now, ttl))
        .not_valid_after(_whole(now) + ttl)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )


def _signing_profile(
    public: ec.EllipticCurvePublicKey, serial: int, path_length: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(public)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signing=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def leaf_certificate(
    root: x509.Certificate,
    public_key: PublicKey,
    subject: x509.Name,
    serial: int,
    now: datetime,
    ttl: timedelta,
) -> x509.CertificateBuilder:
    """What every leaf says, but its name (X.509-SVID 4.1-4.3): no CA, signs handshakes, both roles."""
    _check_serial(serial)
    if not LEAF_TTL_MIN <= ttl <= LEAF_TTL_MAX:
        raise IssueRefused(f"leaf lifetime {ttl}: use {LEAF_TTL_MIN} to {LEAF_TTL_MAX}")
    if not root.not_valid_before_utc <= now < root.not_valid_after_utc:
        raise IssueRefused(f"the root is not valid at {now:%Y-%m-%dT%H:%M:%SZ}; rotate it")
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(root.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(max(_backdated(now, ttl), root.not_valid_before_utc))
        .not_valid_after(min(_whole(now) + ttl, root.not_valid_after_utc))  # a leaf never outlives its root
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signing=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_BOTH_ROLES), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )


def issued(leaf: x509.Certificate) -> Issued:
    """The record of a signed leaf."""
    return Issued(
        leaf.public_bytes(serialization.Encoding.DER),
        leaf.serial_number,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )


def key_identifier(key: ec.EllipticCurvePublicKey) -> bytes:
    """The subject key identifier of a root with this key (RFC 5280, 4.2.1.2, method 1)."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


def _root_name(trust_domain: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Told apart from the root before it, so that a chain's names alone lead to the right issuer."""
    return common_name(f"Weft CA {key_identifier(key.public_key()).hex()[:8]} {trust_domain}")


def _domain_name(trust_domain: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])


def common_name(text: str) -> x509.Name:
    """A subject that people may read; nothing decides by it."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # RFC 5280, A.1: 64 characters


def _acceptable(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        return key
    raise CsrRefused(
        f"certificate request: key type is not accepted; use P-256, P-384 or RSA of {RSA_BITS_MIN} "
        f"to {RSA_BITS_MAX} bits"
    )


def _trust_domain(root: x509.Certificate) -> str:
    """Of a root's URI name; "" for a root that is not a trust domain's (the server root)."""
    try:
        names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if len(uris) == 1 else ""


def _check_serial(serial: int) -> None:
    if not 0 < serial <= SERIAL_MAX:
        raise IssueRefused("serial number: must be positive and at most 20 octets (RFC 5280, 4.1.2.2)")


def _backdated(now: datetime, ttl: timedelta) -> datetime:
    """Valid a little before now, for peers whose clock is behind; less for very short lives, so that
    half of the life still lies ahead."""
    return _whole(now - min(timedelta(seconds=CLOCK_SKEW_S), ttl / 10))


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)  # X.509 times have no fractions


def _key_usage(signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing,
        key_cert_sign=signing,
        crl_sign=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


_BOTH_ROLES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
