"""Lifetimes, serial numbers and keys: what the authority issues and what it refuses."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.authority import SERIAL_MAX, Issued, csr_public_key, issue_leaf, issue_leaf_for_key, new_root
from ca.errors import CsrRefused, IssueRefused
from tests.support.pki import DER, NOW, Domain, csr
from weft.spiffe import InvalidSpiffeId, SpiffeId

DOMAIN = Domain()
WEB = SpiffeId("dc1.weft", "dc1", "web")
REQUEST = csr()


def issue(**changes: Any) -> Issued:
    given: dict[str, Any] = {"csr_der": REQUEST, "identity": WEB, "serial": 7, "now": NOW}
    return issue_leaf(DOMAIN.root, DOMAIN.key, **(given | changes))


def test_a_leaf_lives_72_hours_and_is_backdated_a_minute_for_slow_clocks() -> None:
    leaf = issue()
    assert (leaf.not_before, leaf.not_after) == (NOW - timedelta(seconds=60), NOW + timedelta(hours=72))


def test_half_of_a_short_life_lies_ahead() -> None:
    leaf = issue(ttl=timedelta(seconds=20))
    assert leaf.not_before == NOW - timedelta(seconds=2)
    assert leaf.not_before + (leaf.not_after - leaf.not_before) / 2 > NOW + timedelta(seconds=5)


def test_a_leaf_never_outlives_its_root() -> None:
    root = new_root("dc1.weft", DOMAIN.key, 1, NOW, timedelta(hours=1))
    leaf = issue_leaf(root, DOMAIN.key, REQUEST, WEB, 7, NOW)
    assert leaf.not_after == root.not_valid_after_utc


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=9), timedelta(days=400), timedelta(days=-1)])
def test_a_lifetime_out_of_bounds_is_refused(ttl: timedelta) -> None:
    with pytest.raises(IssueRefused, match="lifetime"):
        issue(ttl=ttl)


@pytest.mark.parametrize("serial", [0, -1, SERIAL_MAX + 1])
def test_a_serial_number_out_of_bounds_is_refused(serial: int) -> None:
    with pytest.raises(IssueRefused, match="serial"):
        issue(serial=serial)
    with pytest.raises(IssueRefused, match="serial"):
        new_root("dc1.weft", DOMAIN.key, serial, NOW)


def test_an_expired_root_issues_nothing() -> None:
    with pytest.raises(IssueRefused, match="rotate"):
        issue(now=NOW + timedelta(days=4000))


def test_trap_08_a_root_issues_for_its_own_trust_domain_only() -> None:
    with pytest.raises(IssueRefused, match="own root"):
        issue(identity=SpiffeId("dc2.weft", "dc1", "web"))


def test_a_root_for_an_impossible_trust_domain_is_refused() -> None:
    with pytest.raises(InvalidSpiffeId):
        new_root("DC1.Weft", DOMAIN.key, 1, NOW)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())],
    ids=lambda key: key.curve.name,
)
def test_strong_curves_are_accepted(key: ec.EllipticCurvePrivateKey) -> None:
    assert csr_public_key(csr(key)) == key.public_key()


def test_rsa_2048_is_accepted() -> None:
    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    assert csr_public_key(request.sign(key, hashes.SHA256()).public_bytes(DER)) == key.public_key()


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa-1024", "p-224", "k-256", "ed25519"],
)
def test_weak_and_odd_keys_are_refused(key: Any) -> None:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    with pytest.raises(CsrRefused, match="P-256"):
        csr_public_key(request.public_bytes(DER))


def test_a_csr_that_its_own_key_did_not_sign_is_refused() -> None:
    damaged = bytearray(REQUEST)
    damaged[-1] ^= 1
    with pytest.raises(CsrRefused, match="sign"):
        csr_public_key(bytes(damaged))


@pytest.mark.parametrize("junk", [b"", b"not a csr", REQUEST[:-10], REQUEST + b"\0", b"\x30" * 20_000])
def test_bytes_that_are_no_csr_are_refused(junk: bytes) -> None:
    with pytest.raises(CsrRefused):
        csr_public_key(junk)


def test_a_known_key_can_be_signed_without_a_csr() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_leaf_for_key(DOMAIN.root, DOMAIN.key, key.public_key(), WEB, 7, NOW)
    assert x509.load_der_x509_certificate(issued.leaf_der).public_key() == key.public_key()
