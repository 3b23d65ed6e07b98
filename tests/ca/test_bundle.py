"""Trust bundles, and how roots are described."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes

from ca.authority import new_root
from ca.bundle import TrustBundle, describe, serial_bytes
from ca.errors import IssueRefused
from tests.support.pki import DER, NOW, Domain
from weft.limits import BUNDLE_ROOTS_MAX

DOMAIN = Domain()


def test_a_bundle_survives_pem() -> None:
    bundle = TrustBundle("dc1.weft").with_root(DOMAIN.root_der).with_root(Domain().root_der)
    assert TrustBundle.from_pem("dc1.weft", bundle.to_pem()) == bundle


def test_a_root_is_in_a_bundle_once() -> None:
    bundle = TrustBundle("dc1.weft", (DOMAIN.root_der,))
    assert bundle.with_root(DOMAIN.root_der) is bundle


def test_expired_roots_leave_and_the_others_stay() -> None:
    short = new_root("dc1.weft", DOMAIN.key, 2, NOW, timedelta(hours=1)).public_bytes(DER)
    bundle = TrustBundle("dc1.weft", (short, DOMAIN.root_der))
    assert bundle.without_expired(NOW) is bundle
    assert bundle.without_expired(NOW + timedelta(hours=1)).roots_der == (DOMAIN.root_der,)


def test_a_bundle_is_bounded() -> None:
    full = TrustBundle("dc1.weft", tuple(bytes([n]) for n in range(BUNDLE_ROOTS_MAX)))
    with pytest.raises(IssueRefused, match="drop"):
        full.with_root(DOMAIN.root_der)


@pytest.mark.parametrize(
    "pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_pem_is_refused(pem: str) -> None:
    with pytest.raises(IssueRefused, match=r"dc1\.weft"):
        TrustBundle.from_pem("dc1.weft", pem)


def test_a_root_is_described_as_consul_clients_expect() -> None:
    seen = describe(DOMAIN.root_der)
    assert seen.id == DOMAIN.root.fingerprint(hashes.SHA1()).hex(":")
    assert (seen.name, seen.serial) == ("Weft CA dc1.weft", 1)
    assert (seen.private_key_type, seen.private_key_bits) == ("ec", 256)
    assert len(seen.signing_key_id.split(":")) == 20
    assert seen.pem.startswith("-----BEGIN CERTIFICATE-----")


def test_serials_are_big_endian_without_a_leading_zero() -> None:
    assert (serial_bytes(1), serial_bytes(255), serial_bytes(256)) == (b"\1", b"\xff", b"\1\0")
