"""An agent's first word: it is said to its own servers alone, and can be repeated by nobody else."""

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import private_pem
from ca.server_identity import issue_server, new_server_root
from registry.identity.join_text import JoinText, pin
from registry.membership.errors import JoinRefused, MembershipDamaged, NotOurServer, ServersAway
from registry.membership.files import FILE, PENDING_KEY, MembershipFiles
from registry.membership.joining import Joiner, discover_root
from tests.support.enrolment import join_text, joined
from tests.support.processes import free_port
from tests.support.registry import Client, running_registry
from weft.tls import https_server_context

PIN = (b"p" * 32,)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_registry() as found:
        yield found


class Stranger:
    """Listens with a certificate of its own root, and keeps what it is told. `sent` is in its chain."""

    def __init__(self, sent: x509.Certificate | None = None) -> None:
        key, root_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        now = datetime.now(UTC)
        self.root = new_server_root("dc1", root_key, 1, now)
        leaf = issue_server(self.root, root_key, key.public_key(), ["server.dc1.weft"], 2, now)
        chain = chain_to_pem([leaf.leaf_der]) + (sent or self.root).public_bytes(Encoding.PEM)
        self.tls: ssl.SSLContext = https_server_context(chain, private_pem(key))
        self.heard = b""
        self.address = ""

    @property
    def root_pem(self) -> str:
        return der_to_pem(self.root.public_bytes(Encoding.DER))

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            self.heard += data
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stranger"]:
        server = await asyncio.start_server(self.listen, "127.0.0.1", 0, ssl=self.tls)
        async with server:
            self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


async def test_trap_3_the_secret_is_not_said_to_who_has_another_root(tmp_path: Path) -> None:
    async with Stranger().running() as stranger:
        text = JoinText("0" * 16, "s" * 43, PIN)
        joiner = Joiner((stranger.address,), text, "vm-1", "dc1", MembershipFiles(tmp_path), lambda: 0.5)
        with pytest.raises(NotOurServer, match="somebody"):
            await joiner._ask(stranger.address, ec.generate_private_key(ec.SECP256R1()))
        assert stranger.heard == b""


async def test_trap_3_to_send_our_root_along_is_not_to_be_vouched_for_by_it(tmp_path: Path) -> None:
    """Anybody can: it is public. So the second connection is verified by it, before a word is said."""
    root = new_server_root("dc1", ec.generate_private_key(ec.SECP256R1()), 1, datetime.now(UTC))
    async with Stranger(root).running() as stranger:
        text = JoinText("0" * 16, "s" * 43, (pin(root),))
        joiner = Joiner((stranger.address,), text, "vm-1", "dc1", MembershipFiles(tmp_path), lambda: 0.5)
        with pytest.raises(ServersAway):
            await joiner._ask(stranger.address, ec.generate_private_key(ec.SECP256R1()))
        assert stranger.heard == b""


async def test_the_root_that_a_pin_names_is_found() -> None:
    async with Stranger().running() as stranger:
        assert await discover_root(stranger.address, (*PIN, pin(stranger.root))) == stranger.root_pem


async def test_who_does_not_answer_is_away() -> None:
    with pytest.raises(ServersAway):
        await discover_root(f"127.0.0.1:{free_port()}", PIN)


async def test_trap_2_what_is_kept_is_for_its_owner_alone(client: Client, tmp_path: Path) -> None:
    files = MembershipFiles(tmp_path)
    files.pending_key()
    assert stat.S_IMODE((tmp_path / PENDING_KEY).stat().st_mode) == 0o600
    member = await joined(client, tmp_path)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert not (tmp_path / PENDING_KEY).exists()
    assert files.load("vm-1") == member
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(MembershipDamaged, match="chmod 600"):
        files.load("vm-1")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"node": "vm-1"}', b"\xff"])
def test_a_damaged_file_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).touch(0o600)
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(MembershipDamaged, match=FILE):
        MembershipFiles(tmp_path).load("vm-1")


async def test_a_membership_is_of_one_node(client: Client, tmp_path: Path) -> None:
    await joined(client, tmp_path)
    with pytest.raises(MembershipDamaged, match=r"of node vm-1, not of vm-2"):
        MembershipFiles(tmp_path).load("vm-2")


async def test_trap_1_an_answer_that_was_lost_comes_again_to_the_same_key_only(
    client: Client, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    text = await join_text(client)
    kept = MembershipFiles(one).pending_key()  # as a process leaves it that dies before the answer
    joiner = Joiner((), text, "vm-1", "dc1", MembershipFiles(one), lambda: 0.5)
    server = f"http://{client.registry.http}"
    await joiner._ask(server, kept)
    member = await joined(client, one, text=text)
    assert private_pem(kept).decode() == member.key_pem
    with pytest.raises(JoinRefused, match="used already"):
        await joined(client, other, text=text)


async def test_one_token_lets_in_one_of_many_that_try_at_once(client: Client, tmp_path: Path) -> None:
    text = await join_text(client)
    folders = [tmp_path / str(number) for number in range(6)]
    for folder in folders:
        folder.mkdir()
    found = await asyncio.gather(
        *(joined(client, folder, text=text) for folder in folders), return_exceptions=True
    )
    refused = [it for it in found if isinstance(it, JoinRefused)]
    assert len(refused) == len(folders) - 1
