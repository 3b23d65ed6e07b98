"""A trust domain that issues what a test needs, also what a sound authority would refuse to."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.authority import LEAF_TTL_DEFAULT, Issued, issue_leaf_for_key, new_root
from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import private_pem
from weft.spiffe import SpiffeId

DER = serialization.Encoding.DER
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Leaf:
    """A certificate with its private key."""

    issued: Issued
    key: ec.EllipticCurvePrivateKey

    @property
    def chain_der(self) -> list[bytes]:
        return [self.issued.leaf_der]

    @property
    def chain_pem(self) -> bytes:
        return chain_to_pem(self.chain_der)

    @property
    def key_pem(self) -> bytes:
        return private_pem(self.key)


class Domain:
    """A trust domain `name` with a root made at `now`."""

    def __init__(self, name: str = "dc1.weft", now: datetime = NOW) -> None:
        self.name = name
        self.now = now
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = new_root(name, self.key, serial=1, now=now)
        self._serial = 1

    @property
    def root_der(self) -> bytes:
        return self.root.public_bytes(DER)

    @property
    def root_pem(self) -> bytes:
        return der_to_pem(self.root_der).encode()

    @property
    def bundle(self) -> dict[str, list[bytes]]:
        return {self.name: [self.root_der]}

    def leaf(
        self,
        service: str = "web",
        *,
        now: datetime | None = None,
        ttl: timedelta = LEAF_TTL_DEFAULT,
    ) -> Leaf:
        """A sound leaf of this domain."""
        self._serial += 1
        key = ec.generate_private_key(ec.SECP256R1())
        identity = SpiffeId(self.name, "dc1", service)
        return Leaf(
            issue_leaf_for_key(
                self.root, self.key, key.public_key(), identity, self._serial, now or self.now, ttl
            ),
            key,
        )

    def forged(self, *uris: str, ca: bool = False, cert_sign: bool = False, eku: bool = True) -> Leaf:
        """A leaf with any names, signed all the same."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Leaf(_record(self._forged(key, uris, ca, cert_sign, eku)), key)

    def _forged(
        self, key: ec.EllipticCurvePrivateKey, uris: tuple[str, ...], ca: bool, cert_sign: bool, eku: bool
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(key.public_key())
            .serial_number(4711)
            .not_valid_before(self.now - timedelta(minutes=1))
            .not_valid_after(self.now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(cert_sign), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        if eku:
            roles = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def csr(
    key: ec.EllipticCurvePrivateKey | None = None, subject: str = "", uris: tuple[str, ...] = ()
) -> bytes:
    """A signing request, DER, that may claim names."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(DER)


def _record(leaf: x509.Certificate) -> Issued:
    return Issued(
        leaf.public_bytes(DER), leaf.serial_number, leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )


def _usage(cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=cert_sign,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def self_signed_pem(host: str = "localhost") -> tuple[bytes, bytes]:
    """Certificate and key of a web server for `host` and 127.0.0.1; it is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private_pem(key)
