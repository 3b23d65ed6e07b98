"""Listening sockets pass from one process to the next: what is passed, and what is refused."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from sidecar.handover import NAME, PER_PACKET, Handover, Inheritance, inherit
from sidecar.sockets import Sockets
from sidecar.traffic import Address
from tests.support.waiting import until
from weft.errors import DataDirProblem, EnvironmentProblem, PortTaken


class Old:
    """A process that could be replaced."""

    def __init__(self, folder: Path) -> None:
        self.sockets = Sockets()
        self.taken = 0
        self.handover = Handover(folder, self.sockets, self._take)
        self.handover.start()

    def _take(self) -> None:
        self.taken += 1

    async def close(self) -> None:
        await self.handover.close()
        self.sockets.close()


async def asked(folder: Path) -> Inheritance:
    found = await asyncio.to_thread(inherit, folder)
    assert found is not None
    return found


def test_what_a_successor_does_not_ask_for_is_listened_on_no_more() -> None:
    old = Sockets()
    (kept,), (left,) = (old.hold(Address("127.0.0.1", 0)) for _ in range(2))
    ports = [it.getsockname()[1] for it in (kept, left)]
    new = Sockets(inherited=[(name, it.dup()) for name, it in old])
    old.close()
    new.hold(Address("127.0.0.1", ports[0]))
    new.release_unasked()
    new.release_unasked()
    found = []
    for port in ports:
        with socket.socket() as caller:
            found.append(caller.connect_ex(("127.0.0.1", port)) == 0)
    assert found == [True, False]
    new.close()


async def test_a_successor_listens_where_the_old_one_did(tmp_path: Path) -> None:
    old = Old(tmp_path)
    (tcp,) = await old.sockets.bind(Address("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    tcp.close()
    path = tmp_path / "app.sock"
    for listening in await old.sockets.bind(Address(path=str(path))):
        listening.close()
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    heir = await asked(tmp_path)
    assert [name for name, _ in heir.sockets] == [f"127.0.0.1:{port}", f"unix:{path}"]
    new = Sockets(inherited=heir.sockets)
    assert old.taken == 0
    heir.serving()
    await until(lambda: old.taken, "the old one is told")
    old.sockets.release(Address("127.0.0.1", port))
    old.sockets.release(Address(path=str(path)))
    await old.close()
    assert path.exists()
    for address in (Address("127.0.0.1", port), Address(path=str(path))):
        (listening,) = await new.bind(address)  # bound already, or this would be refused
        listening.close()
    (waiting,) = new.hold(Address("127.0.0.1", port))
    with socket.create_connection(("127.0.0.1", port)):
        waiting.setblocking(True)
        waiting.accept()[0].close()
    new.release(Address(path=str(path)))
    assert not path.exists()
    new.close()


async def test_a_successor_that_goes_before_it_serves_takes_nothing(tmp_path: Path) -> None:
    old = Old(tmp_path)
    heir = await asked(tmp_path)
    heir.close()
    again = await asked(tmp_path)
    assert old.taken == 0
    again.serving()
    await until(lambda: old.taken, "the next one takes over")
    await old.close()


async def test_more_sockets_than_one_packet_holds(tmp_path: Path) -> None:
    old = Old(tmp_path)
    for number in range(PER_PACKET + 2):
        old.sockets.hold(Address(path=str(tmp_path / f"{number}")))
    heir = await asked(tmp_path)
    assert len(heir.sockets) == PER_PACKET + 2
    for _, one in heir.sockets:
        one.close()
    heir.close()
    await old.close()


async def test_another_user_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Old(tmp_path)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(EnvironmentProblem, match="does not hand over"):
        await asked(tmp_path)
    await old.close()


async def test_where_nobody_serves_there_is_nothing_to_take(tmp_path: Path) -> None:
    assert inherit(tmp_path) is None
    old = Old(tmp_path)
    await old.close()
    assert not (tmp_path / NAME).exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(tmp_path / NAME))  # of one that was killed
    assert inherit(tmp_path) is None


async def test_a_door_that_says_nonsense_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(tmp_path / NAME))
        door.listen()
        asking = asyncio.ensure_future(asyncio.to_thread(inherit, tmp_path))
        conn, _ = await asyncio.to_thread(door.accept)
        with conn:
            conn.send(b'{"names": ["127.0.0.1:1"], "more": false}')
        with pytest.raises(EnvironmentProblem, match="does not hand over"):
            await asking


async def test_a_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataDirProblem, match="give a --state-dir with a path of less than"):
        Handover(tmp_path / ("x" * 100), Sockets(), lambda: None).start()


async def test_the_sockets_of_workers_share_a_port_with_each_other_and_nobody_else() -> None:
    many = Sockets(copies=3)
    held = await many.bind(Address("127.0.0.1", 0))
    (port,) = {one.getsockname()[1] for one in held}
    assert len(held) == 3
    with pytest.raises(PortTaken):
        Sockets(copies=3).hold(Address("127.0.0.1", port))
    for one in held:
        one.close()
    many.close()
