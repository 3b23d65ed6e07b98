"""How a sidecar is replaced without a moment in which nobody serves.

The new process asks the old one, at a Unix socket in their state directory, for its listening sockets. Both
accept on them until the new one says that it serves; then the old one drains. Where the new one fails before,
nothing has happened.

Messages are packets: the old one's `{"names": [...], "more": true|false}` with a descriptor for each name,
then the new one's `serving`.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from weft.aio import Tasks
from weft.errors import DataDirProblem, EnvironmentProblem

from .sockets import Sockets

NAME = "handover.sock"
PER_PACKET = 128  # Linux passes 253 descriptors at once, and a packet has room for names of 107 octets
PACKET_BYTES_MAX = 64 * 1024
PACKETS_MAX = 1024
ANSWER_S = 5.0  # the old one answers at once, or not at all
SERVING = b"serving"
MODE = 0o600
_PEER = struct.Struct("3i")  # SO_PEERCRED: pid, uid, gid

Named = tuple[str, socket.socket]

log = structlog.get_logger(__name__)


class Handover:
    """The old one's side. `taken` is called once a successor serves; there is no way back."""

    def __init__(self, state_dir: Path, sockets: Sockets, taken: Callable[[], None]) -> None:
        self._path = state_dir / NAME
        self._sockets = sockets
        self._taken = taken
        self._tasks = Tasks()
        self._door: socket.socket | None = None
        self._gone = False

    def start(self) -> None:
        """Raises DataDirProblem."""
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Beside it and renamed: the old one's door stands until ours does.
        new = self._path.with_suffix(f".{os.getpid()}")
        try:
            door.setblocking(False)
            before = os.umask(0o777 & ~MODE)
            try:
                door.bind(str(new))
            finally:
                os.umask(before)
            door.listen(1)
            new.replace(self._path)
        except OSError as error:
            door.close()
            raise DataDirProblem(
                f"{self._path}: cannot be made ({error.strerror or error}); give a --state-dir with a "
                "path of less than 90 characters on a local disk"
            ) from error
        self._door = door
        asyncio.get_running_loop().add_reader(door.fileno(), self._asked)

    async def close(self) -> None:
        if self._door is not None:
            asyncio.get_running_loop().remove_reader(self._door.fileno())
            self._door.close()
            self._door = None
            if not self._gone:
                self._path.unlink(missing_ok=True)
        await self._tasks.close()

    def _asked(self) -> None:
        assert self._door is not None
        try:
            successor, _ = self._door.accept()
        except OSError:
            return
        if _uid_of(successor) != os.getuid():  # the mode of the door says so already
            successor.close()
            return
        successor.setblocking(False)
        self._tasks.spawn(self._hand(successor), "hand over")

    async def _hand(self, successor: socket.socket) -> None:
        """All packets fit into the socket's buffer at once, or the successor is not what it should be."""
        try:
            for packet, passed in _packets(list(self._sockets)):
                socket.send_fds(successor, [packet], [it.fileno() for it in passed])
            log.info("a successor has our sockets")
            if await _received(successor) == SERVING and not self._gone:
                self._gone = True
                self._sockets.hand_over()
                self._taken()
                return
            log.warning("the successor ended before it served; we go on")
        except OSError as error:
            log.warning("the successor was not reached", error=str(error))
        finally:
            successor.close()


def _packets(held: Sequence[Named]) -> list[tuple[bytes, list[socket.socket]]]:
    made = []
    for at in range(0, max(1, len(held)), PER_PACKET):
        some = held[at : at + PER_PACKET]
        content = {"names": [name for name, _ in some], "more": at + PER_PACKET < len(held)}
        made.append((json.dumps(content).encode(), [it for _, it in some]))
    return made


async def _received(peer: socket.socket) -> bytes:
    """The next packet; b"" where the peer has gone."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(peer.fileno(), there.set)
    try:
        await there.wait()
        return peer.recv(len(SERVING) + 1)
    finally:
        loop.remove_reader(peer.fileno())


def _uid_of(peer: socket.socket) -> int:
    said = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(said)[1])


class Inheritance:
    """The new one's side: `sockets` of the old one, which drains after `serving`."""

    def __init__(self, sockets: list[Named], predecessor: socket.socket) -> None:
        self.sockets = sockets
        self._predecessor = predecessor

    def serving(self) -> None:
        with contextlib.suppress(OSError):  # it ended by itself
            self._predecessor.send(SERVING)
        self._predecessor.close()

    def close(self) -> None:
        """Nothing was taken over, unless `serving` was said."""
        self._predecessor.close()


def inherit(state_dir: Path) -> Inheritance | None:
    """Asks the sidecar that serves with this state directory for its sockets; None where there is none.
    Blocks for ANSWER_S at most. Raises EnvironmentProblem."""
    predecessor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor.settimeout(ANSWER_S)
    try:
        predecessor.connect(str(state_dir / NAME))
    except (FileNotFoundError, ConnectionRefusedError):
        predecessor.close()
        return None
    except OSError as error:
        predecessor.close()
        raise EnvironmentProblem(f"{state_dir / NAME}: {error.strerror or error}") from error
    try:
        return Inheritance(_passed(predecessor), predecessor)
    except (OSError, ValueError, KeyError) as error:
        predecessor.close()
        raise EnvironmentProblem(
            f"the sidecar at {state_dir / NAME} does not hand over its sockets ({error}); end it first"
        ) from error


def _passed(predecessor: socket.socket) -> list[Named]:
    found: list[Named] = []
    for _ in range(PACKETS_MAX):
        packet, passed, flags, _ = socket.recv_fds(predecessor, PACKET_BYTES_MAX, PER_PACKET)
        sockets = [socket.socket(fileno=it) for it in passed]
        content = json.loads(packet) if packet else {"names": None}
        names = content["names"]
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or names is None or len(names) != len(sockets):
            for one in sockets:
                one.close()
            raise ValueError("a packet is not whole")
        for one in sockets:
            one.setblocking(False)
        found += zip(map(str, names), sockets, strict=True)
        if not content["more"]:
            return found
    raise ValueError("too many packets")
