"""TLS and sign-in to a real etcd, and one clear line for whoever may not come in."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.catalog import commands, watches
from registry.errors import NotReady
from registry.replica.etcd.engine import EtcdLog, open_etcd
from registry.replica.etcd.errors import EtcdRefuses, EtcdUnreachable
from tests.support import peers
from tests.support.catalog import node, service, stamp
from tests.support.cluster import peer_tls
from tests.support.etcd import EtcdCluster, running_etcd

pytestmark = [pytest.mark.peer("etcd"), pytest.mark.peer("etcdctl")]
USERS = {"root": "root", "weft": "weft", "other": "other"}  # user -> role


@dataclass
class Guarded:
    """An etcd that takes only certificates of `ca`, and users with a password."""

    etcd: EtcdCluster
    files: Path

    def url(self, prefix: str = "weft", user: str = "weft", password: str = "", ca: str = "ca") -> str:
        path = self.files / f"password-{password or user}"
        path.write_text(password or f"{user}-secret")
        path.chmod(0o600)
        query = f"?ca={self.files}/{ca}&cert={self.files}/cert&key={self.files}/key&password-file={path}"
        return self.etcd.url(prefix, query, "etcds", f"{user}@")

    def ctl(self, *arguments: str) -> None:
        flags = [f"--{flag}={self.files}/{name}" for flag, name in _CTL.items()]
        subprocess.run(
            [peers.require("etcdctl"), f"--endpoints={self.etcd.members[0].client}", *flags, *arguments],
            env={"ETCDCTL_API": "3"},
            check=True,
            capture_output=True,
            timeout=20,
        )


_CTL = {"cacert": "ca", "cert": "cert", "key": "key"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    files = tmp_path_factory.mktemp("pki")
    for prefix, issue in (("", peer_tls()), ("foreign-", peer_tls())):
        made = issue("127.0.0.1")
        for name, text in (("ca", made.roots_pem), ("cert", made.chain_pem), ("key", made.key_pem)):
            (files / f"{prefix}{name}").write_bytes(text)
            (files / f"{prefix}{name}").chmod(0o600)
    options = (
        *("--cert-file", f"{files}/cert", "--key-file", f"{files}/key"),
        *("--trusted-ca-file", f"{files}/ca", "--client-cert-auth"),
    )
    with running_etcd(tmp_path_factory.mktemp("etcd"), options=options) as etcd:
        found = Guarded(etcd, files)
        for user, role in USERS.items():
            found.ctl("user", "add", f"{user}:{user}-secret")
            found.ctl("role", "add", role)
            found.ctl("user", "grant-role", user, role)
        found.ctl("role", "grant-permission", "weft", "readwrite", "weft/", "--prefix=true")
        found.ctl("auth", "enable")
        yield found


async def _open(url: str) -> EtcdLog:
    return await open_etcd(url, address="127.0.0.1:8300", outage_timeout_s=5.0)


async def test_a_user_with_rights_on_the_prefix_comes_in(guarded: Guarded) -> None:
    log = await _open(guarded.url())
    try:
        await log.propose(commands.register(stamp(), node(), [service("web")]))
        await log._snapshots.write(log.view(), 2, log._seat.epoch, True)
        assert log.status().is_leader
        other = await _open(guarded.url())
        waiting = other.wait([watches.service("web")], 1, 20.0)
        await log.propose(commands.deregister_services(stamp(), "n1", ["web"]))
        await waiting  # watching takes the same rights
        assert not other.view().service_nodes("web").rows
        await other.close()
        log._etcd._token = "expired"  # etcd forgets a token after some minutes without use
        await log.propose(commands.register(stamp(), node(), [service("db")]))
        assert set(log.view().service_names().rows) == {"db"}
    finally:
        await log.close()


async def test_a_wrong_password_is_refused(guarded: Guarded) -> None:
    with pytest.raises(EtcdRefuses, match="refuses user 'weft'") as refused:
        await _open(guarded.url(password="guess"))
    assert "guess" not in str(refused.value)


async def test_a_user_without_rights_on_the_prefix_is_refused(guarded: Guarded) -> None:
    for url in (guarded.url("elsewhere"), guarded.url(user="other")):
        with pytest.raises(EtcdRefuses, match="readwrite on the prefix"):
            await _open(url)


async def test_an_etcd_with_a_foreign_certificate_is_not_talked_to(guarded: Guarded) -> None:
    with pytest.raises(EtcdUnreachable, match="does not answer"):
        await open_etcd(guarded.url(ca="foreign-ca"), address="127.0.0.1:8300", outage_timeout_s=0.5)


async def test_without_sign_in_an_etcd_that_asks_for_it_refuses(guarded: Guarded) -> None:
    query = "".join(
        f"{'&' if name != 'ca' else '?'}{name}={guarded.files}/{name}" for name in ("ca", "cert", "key")
    )
    with pytest.raises(NotReady, match="refuses this server"):
        await _open(guarded.etcd.url("weft", query, "etcds"))
