"""Who a peer is, and why it is refused."""

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.pki import DER, NOW, Domain
from weft.errors import ConfigError
from weft.limits import BUNDLE_ROOTS_MAX, CERTIFICATE_BYTES_MAX, CHAIN_LENGTH_MAX
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer, Verifier

DC1 = Domain("dc1.weft")
DC2 = Domain("dc2.weft")
BOTH = Verifier(DC1.bundle | DC2.bundle)
WEB = SpiffeId("dc1.weft", "dc1", "web")


def refused(chain: list[bytes], verifier: Verifier = BOTH, now: datetime = NOW) -> str:
    with pytest.raises(UntrustedPeer) as caught:
        verifier.verify(chain, now)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cross_signed(subject: Domain, signer: Domain, uri: str) -> bytes:
    """A signing certificate for the key of `subject`, made by the root of `signer`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject.root.subject)
        .issuer_name(signer.root.subject)
        .public_key(subject.key.public_key())
        .serial_number(77)
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
    )
    for kind in (x509.KeyUsage, x509.SubjectKeyIdentifier):
        extension = subject.root.extensions.get_extension_for_class(kind)
        builder = builder.add_extension(extension.value, extension.critical)
    parent = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return builder.add_extension(parent, critical=False).sign(signer.key, hashes.SHA256()).public_bytes(DER)


def test_a_sound_leaf_proves_its_identity_serial_and_end() -> None:
    leaf = DC1.leaf("web")
    peer = BOTH.peer(leaf.chain_der, NOW)
    assert (peer.identity, peer.serial) == (WEB, leaf.issued.serial)
    assert peer.not_after_unix_s == leaf.issued.not_after.timestamp()


def test_trap_08_the_ca_of_dc2_cannot_speak_for_a_service_of_dc1() -> None:
    forged = DC2.forged("spiffe://dc1.weft/ns/default/dc/dc1/svc/web")
    assert "does not verify" in refused(forged.chain_der)
    assert "does not verify" in refused([*forged.chain_der, DC2.root_der])


def test_trap_08_a_path_to_the_right_root_through_another_domains_signer_is_refused() -> None:
    crossed = cross_signed(DC2, DC1, "spiffe://dc2.weft")
    forged = DC2.forged("spiffe://dc1.weft/ns/default/dc/dc1/svc/web")
    assert "signed by spiffe://dc2.weft" in refused([*forged.chain_der, crossed])


def test_a_successors_root_cross_signed_by_the_old_one_is_accepted() -> None:
    successor = Domain("dc1.weft")
    crossed = cross_signed(successor, DC1, "spiffe://dc1.weft")
    chain = [*successor.leaf("web").chain_der, crossed]
    assert Verifier(DC1.bundle).verify(chain, NOW) == WEB
    assert "does not verify" in refused(chain[:1])


def test_each_domain_is_verified_by_its_own_roots() -> None:
    assert BOTH.verify(DC2.leaf("orders").chain_der, NOW) == SpiffeId("dc2.weft", "dc1", "orders")
    assert "no trust bundle" in refused(DC2.leaf().chain_der, Verifier(DC1.bundle))
    assert "no trust bundle" in refused(DC1.leaf().chain_der, Verifier({"dc1.weft": []}))


@pytest.mark.parametrize("offset", [timedelta(hours=73), timedelta(minutes=-2)], ids=["expired", "too early"])
def test_a_leaf_outside_its_lifetime_is_refused(offset: timedelta) -> None:
    leaf = DC1.leaf()
    assert "does not verify" in refused(leaf.chain_der, now=NOW + offset)


def test_an_expired_root_proves_nothing() -> None:
    old = Domain("dc1.weft", now=NOW - timedelta(days=3651))
    leaf = old.forged(WEB.uri)  # its root ended a day ago
    assert "does not verify" in refused(leaf.chain_der, Verifier(old.bundle), NOW)


def test_trap_04_a_revoked_serial_is_refused_in_its_own_domain_only() -> None:
    leaf = DC1.leaf()
    serial = leaf.issued.serial
    assert "revoked" in refused(leaf.chain_der, Verifier(DC1.bundle, frozenset({("dc1.weft", serial)})))
    elsewhere = Verifier(DC1.bundle, frozenset({("dc2.weft", serial), ("dc1.weft", serial + 1)}))
    assert elsewhere.verify(leaf.chain_der, NOW) == WEB


@pytest.mark.parametrize(
    "uris",
    [(), (WEB.uri, "spiffe://dc1.weft/ns/default/dc/dc1/svc/admin"), (WEB.uri, "https://example.org/")],
    ids=["none", "two", "spiffe and another"],
)
def test_section_2_not_exactly_one_uri_name_is_refused(uris: tuple[str, ...]) -> None:
    assert f"{len(uris)} URI names" in refused(DC1.forged(*uris).chain_der)


@pytest.mark.parametrize(
    "uri",
    [
        "https://dc1.weft/ns/default/dc/dc1/svc/web",
        "spiffe://dc1.weft",
        "spiffe://dc1.weft/ns/default/dc/dc1/svc/web/",
        "spiffe://dc1.weft/ns/default/dc/dc1/svc/../web",
        "spiffe://dc1.weft/ns/default/dc/dc1/svc/web?x",
        "spiffe://dc1.weft:443/ns/default/dc/dc1/svc/web",
        "spiffe://user@dc1.weft/ns/default/dc/dc1/svc/web",
        "SPIFFE://dc1.weft/ns/default/dc/dc1/svc/web",
        "spiffe://dc1.weft/ns/default/dc/dc1/svc/w%65b",
    ],
)
def test_a_uri_that_is_no_service_id_is_refused(uri: str) -> None:
    assert "URI name" in refused(DC1.forged(uri).chain_der)


def test_section_5_2_a_signing_certificate_is_no_leaf() -> None:
    assert "does not verify" in refused(DC1.forged(WEB.uri, ca=True).chain_der)
    assert "does not verify" in refused(DC1.forged(WEB.uri, cert_sign=True).chain_der)


def test_a_leaf_cannot_sign_another() -> None:
    middle = DC1.leaf("web")
    pretender = Domain("dc1.weft")
    pretender.key = middle.key
    assert "does not verify" in refused([*pretender.forged(WEB.uri).chain_der, *middle.chain_der])


@pytest.mark.parametrize(
    "chain",
    [
        [],
        [b""],
        [b"junk"],
        [DC1.leaf().issued.leaf_der] * (CHAIN_LENGTH_MAX + 1),
        [b"\x30" * (CERTIFICATE_BYTES_MAX + 1)],
        [DC1.leaf().issued.leaf_der[:-1]],
    ],
    ids=["none", "empty", "junk", "long chain", "large", "cut"],
)
def test_bytes_that_are_no_chain_are_refused(chain: list[bytes]) -> None:
    refused(chain)


@pytest.mark.parametrize("roots", [[b"junk"], [DC1.root_der] * (BUNDLE_ROOTS_MAX + 1)])
def test_an_unusable_bundle_is_a_configuration_error(roots: list[bytes]) -> None:
    with pytest.raises(ConfigError, match=r"dc1\.weft"):
        Verifier({"dc1.weft": roots})
