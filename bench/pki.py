"""A CA for the Envoy pair: the same kind of keys and X.509-SVIDs that Weft's CA issues (ECDSA P-256)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

_LIFE = timedelta(days=1)
_BACKDATED = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Leaf:
    """Paths of PEM files."""

    chain: Path
    key: Path


class Authority:
    """One root; its leaves are written into `directory`."""

    def __init__(self, directory: Path, trust_domain: str) -> None:
        self._directory = directory
        self._trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([])
        usage = _usage(signs_certificates=True)
        root = (
            self._builder(f"spiffe://{trust_domain}", self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.root = self._write("root.pem", root.public_bytes(serialization.Encoding.PEM))

    def issue(self, service: str) -> tuple[Leaf, str]:
        """A new leaf and its SPIFFE id."""
        uri = f"spiffe://{self._trust_domain}/ns/default/dc/dc1/svc/{service}"
        key = ec.generate_private_key(ec.SECP256R1())
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        leaf = (
            self._builder(uri, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(both, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = self._write(f"{service}.pem", leaf.public_bytes(serialization.Encoding.PEM))
        return Leaf(chain, self._write(f"{service}.key", key_pem)), uri

    def _builder(self, uri: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        )

    def _write(self, name: str, pem: bytes) -> Path:
        path = self._directory / name
        path.touch(mode=0o600)
        path.write_bytes(pem)
        return path


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
