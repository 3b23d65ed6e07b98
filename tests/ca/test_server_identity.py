"""Trap 3: servers have a root of their own, and neither side's certificates open the other's doors."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import Issued, issue_leaf
from ca.bundle import chain_to_pem
from ca.errors import IssueRefused
from ca.provider import private_pem
from ca.server_identity import issue_server, new_server_root
from tests.support.handshake import failure
from tests.support.pki import DER, NOW, Domain, csr
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer, Verifier
from weft.tls import client_context, server_context

KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = new_server_root("dc1", KEY, 1, NOW)


def server_leaf(*hosts: str) -> Issued:
    return issue_server(ROOT, KEY, KEY.public_key(), hosts, 3, NOW)


def test_a_server_certificate_names_its_hosts() -> None:
    leaf = x509.load_der_x509_certificate(server_leaf("localhost", "127.0.0.1", "::1").leaf_der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]


@pytest.mark.parametrize("hosts", [(), ("a b",), ("*.example",), ("-x",), ("h" * 300,), ("h",) * 65])
def test_bad_host_names_are_refused(hosts: tuple[str, ...]) -> None:
    with pytest.raises(IssueRefused):
        server_leaf(*hosts)


def test_trap_03_the_server_root_issues_no_svid() -> None:
    with pytest.raises(IssueRefused):
        issue_leaf(ROOT, KEY, csr(), SpiffeId("dc1.weft", "dc1", "web"), 5, NOW)


def test_trap_03_a_server_certificate_proves_no_service() -> None:
    # Even where an operator put the server root into a bundle by mistake.
    verifier = Verifier({"dc1.weft": [ROOT.public_bytes(DER)]})
    with pytest.raises(UntrustedPeer, match="0 URI names"):
        verifier.verify([server_leaf("localhost").leaf_der], NOW)


def test_trap_03_a_service_certificate_opens_no_server_door() -> None:
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    root = new_server_root("dc1", key, 1, now)
    chain = chain_to_pem([issue_server(root, key, key.public_key(), ["localhost"], 2, now).leaf_der])
    root_pem = chain_to_pem([root.public_bytes(DER)])
    service = Domain(now=now).leaf("web")
    door = server_context(chain, private_pem(key), [root_pem])
    intruder = client_context(service.chain_pem, service.key_pem, [root_pem])
    assert "unable to get local issuer" in failure(door, intruder) or "unknown" in failure(door, intruder)
