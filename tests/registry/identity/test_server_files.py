"""A server's certificate from files: checked at the start, taken anew when they are replaced."""

import shutil
import ssl
import time
from pathlib import Path

import pytest

from registry.identity.errors import ServerCertificateUnusable
from registry.identity.server_files import RELOAD_AFTER_S, ServerFiles
from registry.replica.peer_tls import server_name
from weft.cli import run
from weft.clock import Clock
from weft.errors import ConfigError


class StillClock(Clock):
    """Says what the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return time.time() + self.now

    def monotonic(self) -> float:
        return self.now


def made(folder: Path, *names: str) -> Path:
    """A root, and a certificate of each name under it."""
    folder.mkdir()
    assert run(["tls", "ca", "create", "--directory", str(folder)]) == 0
    for name in names:
        assert run(["tls", "cert", "create", "--directory", str(folder), "--node", name]) == 0
    return folder


def files(folder: Path, clock: Clock, name: str = "s1", datacenter: str = "dc1") -> ServerFiles:
    return ServerFiles(
        folder / "weft-server-ca.pem",
        folder / f"dc1-server-{name}.pem",
        folder / f"dc1-server-{name}-key.pem",
        server_name(datacenter),
        clock,
    )


def replace(folder: Path, by: Path, other: str) -> None:
    for end in (".pem", "-key.pem"):
        scratch = folder / f"scratch{end}"
        shutil.copy(by / f"dc1-server-{other}{end}", scratch)
        scratch.rename(folder / f"dc1-server-s1{end}")


def test_replaced_files_are_used_without_a_restart(tmp_path: Path) -> None:
    folder, clock = made(tmp_path / "ours", "s1", "s2"), StillClock()
    found = files(folder, clock)
    before, https = found.current(), found.https_context()
    replace(folder, folder, "s2")
    assert found.current() is before, "files are not looked at for each handshake"
    clock.now += RELOAD_AFTER_S
    after = found.current()
    assert after.chain_pem == (folder / "dc1-server-s2.pem").read_bytes()
    assert presented(https) == ssl.PEM_cert_to_DER_cert(after.chain_pem.decode())


def presented(server: ssl.SSLContext) -> bytes | None:
    """The certificate of a handshake in memory."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname="server.dc1.weft")
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.getpeercert(binary_form=True)


def test_files_that_do_not_fit_leave_what_was_in_use(tmp_path: Path) -> None:
    folder, clock = made(tmp_path / "ours", "s1"), StillClock()
    other = made(tmp_path / "other", "s1")
    found = files(folder, clock)
    before = found.current()
    replace(folder, other, "s1")
    clock.now += RELOAD_AFTER_S
    assert found.current() is before
    (folder / "dc1-server-s1.pem").unlink()
    clock.now += RELOAD_AFTER_S
    assert found.current() is before


def test_trap_03_only_a_servers_certificate_of_the_datacenter_will_do(tmp_path: Path) -> None:
    folder, other = made(tmp_path / "ours", "s1", "s2"), made(tmp_path / "other", "s1")
    clock = StillClock()
    with pytest.raises(ServerCertificateUnusable, match=r"does not bear the name server\.dc2\.weft"):
        files(folder, clock, datacenter="dc2")
    shutil.copy(folder / "dc1-server-s2-key.pem", folder / "dc1-server-s1-key.pem")
    with pytest.raises(ServerCertificateUnusable, match="is not the certificate of the key"):
        files(folder, clock)
    replace(folder, other, "s1")
    with pytest.raises(ServerCertificateUnusable, match="is not signed by the root"):
        files(folder, clock)
    clock.now = 400 * 24 * 3600
    with pytest.raises(ServerCertificateUnusable, match="not now"):
        files(other, clock)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "ours", "s1")
    (folder / "dc1-server-s1-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        files(folder, StillClock())
