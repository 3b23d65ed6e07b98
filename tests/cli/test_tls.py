"""`weft tls`: a root, certificates under it, and what is refused."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from registry.identity.server_files import check_material
from registry.replica.peer_tls import PeerTls, server_name
from weft.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(here: Path, *arguments: str) -> None:
    assert run(["tls", "ca", "create"]) == 0
    assert run(["tls", "cert", "create", *arguments]) == 0


def test_a_certificate_says_that_it_is_a_servers_and_where(here: Path) -> None:
    made(here, "--address", "10.0.0.1", "--address", "s1.example.org")
    leaf = x509.load_pem_x509_certificate((here / "dc1-server-0.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server.dc1.weft", "localhost", "s1.example.org"]
    assert "10.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    material = PeerTls(
        (here / "weft-server-ca.pem").read_bytes(),
        (here / "dc1-server-0.pem").read_bytes(),
        (here / "dc1-server-0-key.pem").read_bytes(),
    )
    check_material(material, server_name("dc1"), datetime.now(UTC))


def test_keys_are_for_their_owner_only(here: Path) -> None:
    made(here)
    for name in ("weft-server-ca-key.pem", "dc1-server-0-key.pem"):
        assert stat.S_IMODE((here / name).stat().st_mode) == 0o600


def test_the_next_certificate_gets_the_next_name(here: Path) -> None:
    made(here)
    assert run(["tls", "cert", "create"]) == 0
    assert run(["tls", "cert", "create", "--node", "s1", "--datacenter", "east"]) == 0
    assert {path.name for path in here.glob("*-server-*[0-9s]*.pem")} >= {
        "dc1-server-0.pem",
        "dc1-server-1.pem",
        "east-server-s1.pem",
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ca", "create"], "exists already"),
        (["cert", "create", "--node", "0"], "exists already"),
        (["cert", "create", "--key", "dc1-server-0-key.pem"], "is not the key of"),
        (["cert", "create", "--key", "none.pem"], "is missing"),
        (["cert", "create", "--ca", "weft-server-ca-key.pem"], "not a certificate"),
        (["cert", "create", "--address", "a b"], "use a DNS name or an IP address"),
        (["cert", "create", "--datacenter", "a b"], "letters, digits"),
        (["cert", "create", "--days", "0"], "--days"),
    ],
)
def test_wrong_calls_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    made(here)
    before = sorted(here.iterdir())
    assert run(["tls", *arguments]) != 0
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1
    assert sorted(here.iterdir()) == before
