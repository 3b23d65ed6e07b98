"""TLS between processes, over real sockets: who gets in, and what OpenSSL alone would let through."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.handshake import failure, shake
from tests.support.pki import Domain, Leaf
from weft.errors import ConfigError
from weft.svid import UntrustedPeer, Verifier
from weft.tls import client_context, server_context

REAL_NOW = datetime.now(UTC)  # OpenSSL reads the machine's clock
DC1 = Domain("dc1.weft", now=REAL_NOW)
DC2 = Domain("dc2.weft", now=REAL_NOW)
ORDERS = DC1.leaf("orders")
WEB = DC1.leaf("web")
ROOTS = [DC1.root_pem, DC2.root_pem]


def server(leaf: Leaf = ORDERS, roots: list[bytes] = ROOTS) -> ssl.SSLContext:
    return server_context(leaf.chain_pem, leaf.key_pem, roots)


def client(leaf: Leaf = WEB, roots: list[bytes] = ROOTS) -> ssl.SSLContext:
    return client_context(leaf.chain_pem, leaf.key_pem, roots)


def foreign_client(folder: Path | None = None) -> ssl.SSLContext:
    """A client that is not ours and holds to none of our rules; with a folder it has web's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if folder is not None:
        material = folder / "client.pem"
        material.write_bytes(WEB.chain_pem + WEB.key_pem)
        context.load_cert_chain(material)
    return context


def test_both_sides_prove_themselves_and_speak_http_2() -> None:
    inbound, outbound = shake(server(), client())
    assert (inbound.version, inbound.alpn) == ("TLSv1.3", "h2")
    verifier = Verifier(DC1.bundle)
    assert verifier.verify(inbound.chain_der, REAL_NOW).service == "web"
    assert verifier.verify(outbound.chain_der, REAL_NOW).service == "orders"


def test_a_client_without_a_certificate_is_refused() -> None:
    assert "certificate" in failure(server(), foreign_client())


def test_a_client_of_an_unknown_domain_is_refused() -> None:
    assert failure(server(roots=[DC1.root_pem]), client(DC2.leaf()))


def test_an_expired_client_is_refused() -> None:
    old = DC1.leaf(now=REAL_NOW, ttl=timedelta(days=1))
    assert failure(server(), client(old)) == ""
    past = Domain("dc1.weft", now=REAL_NOW - timedelta(days=5))
    assert "expired" in failure(server(roots=[past.root_pem]), client(past.leaf(), [DC1.root_pem]))


def test_a_server_of_an_unknown_domain_is_refused() -> None:
    assert failure(server(DC2.leaf()), client(roots=[DC1.root_pem]))


def test_tls_1_2_is_refused_whatever_the_certificate(tmp_path: Path) -> None:
    old = foreign_client(tmp_path)
    assert failure(server(), old) == ""
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert failure(server(), old)


def resumption(accepting: ssl.SSLContext, folder: Path) -> tuple[bool, bool]:
    """(was a session offered, was it resumed) for a client that tries, and holds a valid certificate."""
    trying = foreign_client(folder)
    _, first = shake(accepting, trying)
    if first.session is None or not first.session.has_ticket:
        return False, False
    again, _ = shake(accepting, trying, first.session)
    return True, bool(again.resumed)


def test_trap_07_a_session_is_never_resumed(tmp_path: Path) -> None:
    assert resumption(server(), tmp_path) == (False, False)


def test_trap_07_would_be_seen_here_if_tickets_were_given_out(tmp_path: Path) -> None:
    careless = server()
    careless.num_tickets = 2
    careless.options &= ~ssl.OP_NO_TICKET
    assert resumption(careless, tmp_path) == (True, True)


def test_trap_08_openssl_accepts_dc2s_ca_for_a_dc1_identity_and_the_verifier_does_not() -> None:
    forged = DC2.forged("spiffe://dc1.weft/ns/default/dc/dc1/svc/web")
    inbound, _ = shake(server(), client(forged))  # the handshake alone would let it in
    with pytest.raises(UntrustedPeer):
        Verifier(DC1.bundle | DC2.bundle).verify(inbound.chain_der, REAL_NOW)


def test_trap_09_a_new_context_forgets_what_the_old_one_trusted() -> None:
    assert failure(server(roots=ROOTS), client(DC2.leaf())) == ""
    assert failure(server(roots=[DC1.root_pem]), client(DC2.leaf()))


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_trap_09_keys_reach_ssl_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    opened = descriptors()
    monkeypatch.setattr("tempfile.mkstemp", None)  # would fail if it were the way
    for _ in range(20):
        server()
    assert descriptors() == opened
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("chain", "key", "roots"),
    [
        (b"", WEB.key_pem, ROOTS),
        (WEB.chain_pem, b"", ROOTS),
        (WEB.chain_pem, ORDERS.key_pem, ROOTS),
        (WEB.chain_pem, WEB.key_pem, []),
        (WEB.chain_pem, WEB.key_pem, [b"junk"]),
        (WEB.chain_pem, WEB.key_pem, [b"\xff"]),
    ],
    ids=["no chain", "no key", "another key", "no roots", "junk roots", "binary roots"],
)
def test_unusable_material_is_a_configuration_error(chain: bytes, key: bytes, roots: list[bytes]) -> None:
    with pytest.raises(ConfigError, match="TLS material"):
        client_context(chain, key, roots)
