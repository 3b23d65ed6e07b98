"""How roots and chains are shown."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca.bundle import chain_to_pem, der_to_pem, describe, read_der, serial_bytes
from ca.errors import IssueRefused
from tests.support.pki import Domain

DOMAIN = Domain()


def test_a_chain_is_pem_in_its_order() -> None:
    other = Domain("dc2.weft")
    pem = chain_to_pem([DOMAIN.root_der, other.root_der])
    assert x509.load_pem_x509_certificates(pem) == [DOMAIN.root, other.root]


@pytest.mark.parametrize("der", [b"", b"junk", DOMAIN.root_der[:-1]])
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    for read in (describe, read_der, der_to_pem):
        with pytest.raises(IssueRefused, match="DER"):
            read(der)


def test_a_root_is_described_as_consul_clients_expect() -> None:
    seen = describe(DOMAIN.root_der)
    assert seen.id == DOMAIN.root.fingerprint(hashes.SHA1()).hex(":")
    assert (seen.name, seen.serial) == (f"Weft CA {seen.signing_key_id.replace(':', '')[:8]} dc1.weft", 1)
    assert (seen.private_key_type, seen.private_key_bits) == ("ec", 256)
    assert len(seen.signing_key_id.split(":")) == 20
    assert seen.pem.startswith("-----BEGIN CERTIFICATE-----")


def test_serials_are_big_endian_without_a_leading_zero() -> None:
    assert (serial_bytes(1), serial_bytes(255), serial_bytes(256)) == (b"\1", b"\xff", b"\1\0")
