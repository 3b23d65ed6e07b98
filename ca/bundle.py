"""Sans-IO. Trust bundles: the roots that speak for one trust domain, and what people see of them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from weft.limits import BUNDLE_ROOTS_MAX

from .errors import IssueRefused


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Roots of one trust domain, DER, oldest first. Content decides equality."""

    trust_domain: str
    roots_der: tuple[bytes, ...] = ()

    def with_root(self, root_der: bytes) -> Self:
        """The bundle that also trusts `root_der`; itself when it does already. Raises IssueRefused."""
        if root_der in self.roots_der:
            return self
        if len(self.roots_der) >= BUNDLE_ROOTS_MAX:
            raise IssueRefused(
                f"trust bundle of {self.trust_domain}: has {BUNDLE_ROOTS_MAX} roots; drop old ones"
            )
        return type(self)(self.trust_domain, (*self.roots_der, root_der))

    def without_expired(self, now: datetime) -> Self:
        """The bundle without roots whose validity has ended."""
        kept = tuple(root for root in self.roots_der if read_der(root).not_valid_after_utc > now)
        return self if kept == self.roots_der else type(self)(self.trust_domain, kept)

    def to_pem(self) -> str:
        return "".join(der_to_pem(root) for root in self.roots_der)

    @classmethod
    def from_pem(cls, trust_domain: str, pem: str) -> Self:
        """Raises IssueRefused when `pem` holds no certificate or anything unreadable."""
        try:
            roots = x509.load_pem_x509_certificates(pem.encode())
        except ValueError as error:
            raise IssueRefused(f"trust bundle of {trust_domain}: not PEM certificates") from error
        bundle = cls(trust_domain)
        for root in roots:
            bundle = bundle.with_root(root.public_bytes(serialization.Encoding.DER))
        return bundle


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
