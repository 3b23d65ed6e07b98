"""A successor's leaves verify for those who know the old root only, both, or the new one only."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import cross_sign, new_root
from ca.bundle import der_to_pem
from ca.errors import IssueRefused
from tests.support.handshake import shake
from tests.support.pki import DER, NOW, Domain
from weft import tls
from weft.svid import UntrustedPeer, Verifier

OLD, NEW = Domain(), Domain()
CROSSED = cross_sign(NEW.root, OLD.root, OLD.key, 99, NOW)
LEAF = NEW.leaf()
CHAIN = [LEAF.issued.leaf_der, CROSSED.public_bytes(DER)]
BUNDLES = {"old": [OLD.root_der], "both": [OLD.root_der, NEW.root_der], "new": [NEW.root_der]}


@pytest.mark.parametrize("known", BUNDLES)
def test_trap_25_a_leaf_of_the_new_root_verifies_with_either_bundle(known: str) -> None:
    identity = Verifier({"dc1.weft": BUNDLES[known]}).verify(CHAIN, NOW)
    assert identity.uri == "spiffe://dc1.weft/ns/default/dc/dc1/svc/web"


def test_without_the_cross_signature_the_old_bundle_does_not_do() -> None:
    with pytest.raises(UntrustedPeer):
        Verifier({"dc1.weft": BUNDLES["old"]}).verify(CHAIN[:1], NOW)


@pytest.mark.parametrize("known", BUNDLES)
def test_trap_25_openssl_takes_the_chain_with_either_bundle(known: str) -> None:
    old, new = (Domain(now=_now()) for _ in range(2))
    crossed = cross_sign(new.root, old.root, old.key, 99, _now())
    leaf = new.leaf()
    chain = "".join(der_to_pem(der) for der in (leaf.issued.leaf_der, crossed.public_bytes(DER))).encode()
    roots = {"old": [old.root_pem], "both": [old.root_pem, new.root_pem], "new": [new.root_pem]}[known]
    far = old.leaf("far")  # shows the old root's leaf to someone who knows both
    server = tls.server_context(chain, leaf.key_pem, [old.root_pem, new.root_pem])
    near, _ = shake(server, tls.client_context(far.chain_pem, far.key_pem, roots))
    assert near.alpn == "h2"


def test_the_names_of_two_roots_differ() -> None:
    assert OLD.root.subject != NEW.root.subject
    assert CROSSED.issuer == OLD.root.subject
    assert CROSSED.subject == NEW.root.subject


def test_a_cross_signature_ends_with_the_earlier_of_the_two() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    short = new_root("dc1.weft", key, 2, NOW, timedelta(hours=1))
    assert cross_sign(short, OLD.root, OLD.key, 9, NOW).not_valid_after_utc == short.not_valid_after_utc
    assert cross_sign(NEW.root, short, key, 9, NOW).not_valid_after_utc == short.not_valid_after_utc


def test_a_cross_signature_lets_nobody_make_another_authority() -> None:
    limits = CROSSED.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)


def test_another_trust_domain_is_not_vouched_for() -> None:
    with pytest.raises(IssueRefused, match="not of one trust domain"):
        cross_sign(Domain("dc2.weft").root, OLD.root, OLD.key, 9, NOW)


def test_a_root_that_is_over_vouches_for_none() -> None:
    with pytest.raises(IssueRefused, match="can vouch for none"):
        cross_sign(NEW.root, OLD.root, OLD.key, 9, NOW + timedelta(days=4000))


def _now() -> datetime:
    return datetime.now(UTC)  # OpenSSL looks at the real clock
