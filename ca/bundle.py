"""Sans-IO. What others see of roots and chains: descriptions, PEM, serial numbers."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from .errors import IssueRefused


@dataclass(frozen=True, slots=True)
class RootDescription:
    """What the HTTP API shows of a root (`/v1/connect/ca/roots`)."""

    id: str  # SHA-1 of the certificate, hex with colons, as Consul has it; names it, guards nothing
    name: str
    serial: int
    signing_key_id: str  # subject key identifier, hex with colons
    not_before: datetime
    not_after: datetime
    pem: str
    private_key_type: str  # "ec" or "rsa"
    private_key_bits: int


def describe(root_der: bytes) -> RootDescription:
    """Raises IssueRefused when `root_der` is not a certificate."""
    root = read_der(root_der)
    key = root.public_key()
    key_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    names = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return RootDescription(
        id=colon_hex(hashlib.sha1(root_der, usedforsecurity=False).digest()),
        name=str(names[0].value) if names else "",
        serial=root.serial_number,
        signing_key_id=colon_hex(key_id),
        not_before=root.not_valid_before_utc,
        not_after=root.not_valid_after_utc,
        pem=der_to_pem(root_der),
        private_key_type="rsa" if isinstance(key, rsa.RSAPublicKey) else "ec",
        private_key_bits=key.key_size if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else 0,
    )


def read_der(der: bytes) -> x509.Certificate:
    """Raises IssueRefused when `der` is not a certificate."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise IssueRefused("not a DER certificate") from error


def der_to_pem(der: bytes) -> str:
    return read_der(der).public_bytes(serialization.Encoding.PEM).decode()


def chain_to_pem(chain_der: Iterable[bytes]) -> bytes:
    """A chain as `ssl` and grpc want it."""
    return "".join(der_to_pem(der) for der in chain_der).encode()


def serial_bytes(serial: int) -> bytes:
    """Big-endian without a leading zero, as revocations carry it."""
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big")


def colon_hex(octets: bytes) -> str:
    return octets.hex(":")
