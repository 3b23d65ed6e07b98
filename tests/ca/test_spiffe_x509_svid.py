"""The profile of SPIFFE's X.509-SVID standard; each test names the section it proves."""

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ca.authority import issue_leaf
from tests.support.pki import NOW, Domain, csr
from weft.spiffe import SpiffeId
from weft.svid import Verifier

DOMAIN = Domain()
LEAF = x509.load_der_x509_certificate(DOMAIN.leaf("web").issued.leaf_der)
ROOT = DOMAIN.root


def uris(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def test_section_2_a_leaf_has_exactly_one_uri_name_and_no_other_name() -> None:
    names = LEAF.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://dc1.weft/ns/default/dc/dc1/svc/web"]


def test_section_2_a_leaf_has_no_subject_so_nothing_can_depend_on_a_common_name() -> None:
    assert LEAF.subject == x509.Name([])
    assert LEAF.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical  # RFC 5280 4.2.1.6


def test_section_3_1_the_signing_certificate_bears_its_trust_domain_without_a_path() -> None:
    assert uris(ROOT) == ["spiffe://dc1.weft"]


def test_section_4_1_basic_constraints_tell_signing_certificate_and_leaf_apart() -> None:
    root = ROOT.extensions.get_extension_for_class(x509.BasicConstraints)
    leaf = LEAF.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (root.critical, root.value.ca, root.value.path_length) == (True, True, 1)
    assert (leaf.critical, leaf.value.ca) == (True, False)


def test_section_4_3_key_usage_is_critical_and_a_leaf_signs_only_handshakes() -> None:
    root = ROOT.extensions.get_extension_for_class(x509.KeyUsage)
    leaf = LEAF.extensions.get_extension_for_class(x509.KeyUsage)
    assert root.critical and leaf.critical
    assert root.value.key_cert_sign and not root.value.digital_signature
    assert leaf.value.digital_signature and not (leaf.value.key_cert_sign or leaf.value.crl_sign)


def test_section_4_4_a_leaf_serves_both_roles() -> None:
    usage = LEAF.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


SEGMENT = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(service=SEGMENT, datacenter=SEGMENT, serial=st.integers(1, 2**159 - 1))
def test_section_5_any_identity_that_is_issued_verifies_as_itself(
    service: str, datacenter: str, serial: int
) -> None:
    identity = SpiffeId("dc1.weft", datacenter, service)
    issued = issue_leaf(ROOT, DOMAIN.key, REQUEST, identity, serial, NOW)
    assert Verifier(DOMAIN.bundle).verify([issued.leaf_der], NOW) == identity


REQUEST = csr()


@pytest.mark.parametrize(
    ("claimed", "subject"),
    [
        (("spiffe://dc1.weft/ns/default/dc/dc1/svc/payments",), "payments"),
        (("spiffe://dc1.weft", "spiffe://dc2.weft/ns/default/dc/dc2/svc/web"), ""),
    ],
)
def test_trap_01_names_in_a_csr_are_ignored(claimed: tuple[str, ...], subject: str) -> None:
    request = csr(subject=subject, uris=claimed)
    issued = issue_leaf(ROOT, DOMAIN.key, request, SpiffeId("dc1.weft", "dc1", "web"), 9, NOW)
    leaf = x509.load_der_x509_certificate(issued.leaf_der)
    assert uris(leaf) == ["spiffe://dc1.weft/ns/default/dc/dc1/svc/web"]
    assert leaf.subject == x509.Name([])
