"""The log in etcd as the rest of the registry knows it: `port.Log`.

Every server takes every write and appends it itself; there is nothing to forward. One of them holds the
seat, writes snapshots and trims. A linearizable read asks etcd for the log's tail, once for all readers
that wait. Without etcd the newest state stays readable, and writes are refused until it is back.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import NoReturn

import structlog

from weft.aio import Tasks
from weft.errors import WeftError
from weft.pb.catalog.v1.command_pb2 import Command
from weft.pb.etcd.v1.log_pb2 import Format, Server

from ...catalog.apply import ensure_known, raise_refusal
from ...catalog.limits import COMMAND_BYTES_MAX
from ...catalog.state import State
from ...catalog.watches import WatchKey
from ...errors import DiskFull, InvalidCommand, NotReady, OutcomeUnknown
from ..machine import Machine
from ..port import Result, Status
from ..proposals import Proposals
from . import limits
from .address import EtcdAddress, parse
from .appender import Appender, Proposal
from .client import Etcd, created_at, get, put
from .errors import EtcdRefuses, EtcdUnreachable
from .follower import EtcdFollower
from .home import Home, nowhere, open_home
from .layout import FORMAT_VERSION, Keys, read_format, tail_value
from .reads import Reads
from .seat import Seat
from .snapshots import Snapshots

log = structlog.get_logger(__name__)

CLOSE_S = 2.0  # for writes under way, and for leaving the seat


async def open_etcd(
    url: str,
    *,
    address: str,
    data_dir: Path | None = None,
    snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES,
    outage_timeout_s: float = limits.OUTAGE_TIMEOUT_S,
) -> "EtcdLog":
    """The log at an `etcd://` URL (see `address`), with all that is in it applied.

    `address` is where other servers find this one; `data_dir` says who it is, and nothing else is kept
    there. Raises ConfigError, EtcdUnreachable, EtcdRefuses,
    DiskFull, DataDirProblem (LogCorrupt included) or UnknownCommand.
    """
    where = parse(url)
    home = open_home(data_dir) if data_dir else nowhere()
    made = EtcdLog(where, home, address, snapshot_after_bytes, outage_timeout_s)
    try:
        await made.start()
    except BaseException:
        await made.close()
        raise
    return made


class EtcdLog:
    """A `port.Log`. Make one with `open_etcd`."""

    def __init__(
        self,
        where: EtcdAddress,
        home: Home,
        address: str,
        snapshot_after_bytes: int,
        outage_timeout_s: float,
    ) -> None:
        self._where = where
        self._outage_timeout_s = outage_timeout_s
        self._home = home
        self._me = Server(id=home.server_id, address=address)
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[BaseException] = self._loop.create_future()
        self._closing = False
        self._beating: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        self._keys = Keys(where.prefix)
        self._etcd = Etcd(where, self._fail)
        self._outcomes = Proposals()
        self._machine = Machine(State(), 0, self._outcomes, self._fail)
        self._seat = Seat(self._etcd, self._keys, self._me)
        self._snapshots = Snapshots(self._etcd, self._keys, self._seat, snapshot_after_bytes)
        self._snapshotting = False
        self._follower = EtcdFollower(
            self._etcd, self._keys, self._machine, self._snapshots, self._seat, self._snapshot_due
        )
        self._appender = Appender(self._etcd, self._keys, self._seat, self._outcomes, self._follower)
        self._reads = Reads(self._follower.catch_up)

    async def start(self) -> None:
        """Joins the log. Raises as `open_etcd`."""
        deadline = self._loop.time() + self._outage_timeout_s
        while True:
            try:
                await self._join()
                break
            except EtcdUnreachable:  # it may be starting, as everything does after a power cut
                if self._loop.time() >= deadline:
                    raise
                await asyncio.sleep(limits.RETRY_MIN_S)
        for work, name in (
            (self._follower.run, "etcd watch"),
            (self._appender.run, "etcd appends"),
            (self._reads.run, "etcd reads"),
        ):
            self._tasks.spawn(self._guarded(work), name)
        self._beating = self._tasks.spawn(self._guarded(self._seat.run), "etcd lease")

    async def _join(self) -> None:
        await self._check_version()
        await self._ensure_format()
        index = await self._follower.catch_up()
        await self._applied(index)
        await self._seat.beat()

    async def _check_version(self) -> None:
        found = await self._etcd.version()
        if found < limits.VERSION_MIN:
            wanted = ".".join(map(str, limits.VERSION_MIN))
            raise EtcdRefuses(f"etcd is version {'.'.join(map(str, found))}; Weft needs {wanted} or newer")

    async def _ensure_format(self) -> None:
        """Makes the log where there is none. Raises LogCorrupt when the prefix is taken."""
        keys, mark = self._keys, Format(version=FORMAT_VERSION, log_id=secrets.token_bytes(16))
        found = await self._etcd.read(get(keys.format))
        rows = found.responses[0].response_range.kvs
        if not rows:
            await self._etcd.txn(
                [created_at(keys.format, 0), created_at(keys.tail, 0)],
                [put(keys.format, mark.SerializeToString()), put(keys.tail, tail_value(0))],
            )
            rows = (await self._etcd.range(keys.format)).kvs
        read_format(rows[0].value if rows else b"")

    async def _applied(self, index: int) -> None:
        """Waits for the machine, or for what stops it."""
        waits = (
            self._tasks.spawn(self._machine.reached(index), "start"),
            self._tasks.spawn(self.failed(), "failure"),
        )
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            self._raise_failure()

    @property
    def server_id(self) -> str:
        return self._me.id

    @property
    def address(self) -> str:
        """Where other servers would find this one."""
        return self._me.address

    # The port

    async def propose(self, command: Command) -> Result:
        ensure_known(command)
        encoded = command.SerializeToString()
        if len(encoded) > COMMAND_BYTES_MAX:
            raise InvalidCommand(
                f"the write has {len(encoded)} bytes, more than {COMMAND_BYTES_MAX}; split it"
            )
        self._check_open()
        self._check_reachable()
        proposal = Proposal(command, encoded, self._seat.epoch)
        self._appender.submit(proposal)
        await asyncio.wait((proposal.answer,), timeout=self._outage_timeout_s)
        if not proposal.answer.done():
            proposal.refuse(self._too_late(proposal))
        found = await proposal.answer
        raise_refusal(found)
        return Result(found.index, found.value)

    def _too_late(self, proposal: Proposal) -> WeftError:
        if proposal.sent:
            return OutcomeUnknown("etcd did not answer in time; the write may or may not hold: retry it")
        return NotReady("etcd does not answer; nothing was written: retry later")

    async def read_index(self, *, consistent: bool = False) -> int:
        self._check_open()
        self._check_reachable()
        try:
            async with asyncio.timeout(self._outage_timeout_s):
                index = await self._reads.ask()
                await self._machine.reached(index)
        except TimeoutError:
            raise NotReady("etcd does not answer in time; retry later") from None
        return self._machine.state.index

    def view(self) -> State:
        return self._machine.state

    def status(self) -> Status:
        view = self._seat.view
        alive = not self._closing and not self._failure.done()
        leader = view.leader if alive else None
        epoch = self._seat.epoch if alive else 0
        return Status(
            leader=leader.address if leader else "",
            peers=tuple(sorted(server.address for server in view.servers)),
            is_leader=epoch != 0,
            last_index=max(self._follower.tail, self._machine.state.index),
            applied_index=self._machine.state.index,
            durable=True,
            server_id=self._me.id,
            leader_id=leader.id if leader else "",
            commit_index=max(self._follower.tail, self._machine.state.index),
            last_contact_s=0.0 if epoch else self._silence_s(),
        )

    async def wait(self, keys: Collection[WatchKey], after_index: int, timeout_s: float) -> None:
        deadline = self._loop.time() + timeout_s
        while max(map(self._machine.state.index_of, keys), default=0) <= after_index:
            left = deadline - self._loop.time()
            if left <= 0 or not await self._machine.watchers.wait(keys, left):
                return

    async def failed(self) -> BaseException:
        return await asyncio.shield(self._failure)

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        await self._finish()
        closed = self._not_ready()
        self._reads.close(closed)
        self._machine.close(closed)
        await self._tasks.close()
        self._appender.refuse_all(closed)
        await self._etcd.close()
        self._home.release()

    async def _finish(self) -> None:
        """Writes under way, and the seat; neither for longer than CLOSE_S."""
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._beating and not self._failure.done():
                    await self._appender.idle()
                    await self._machine.reached(self._follower.last_index)
                if self._beating:  # or it would sit down again
                    self._beating.cancel()
                    await asyncio.wait((self._beating,))
                await self._seat.leave()
        except (TimeoutError, WeftError) as error:
            log.warning("the seat was not left in order", reason=str(error))

    # Failing

    def _silence_s(self) -> float:
        return self._loop.time() - self._etcd.heard_at

    def _check_reachable(self) -> None:
        """Raises EtcdUnreachable when so much time has passed that waiting again is of no use."""
        if self._silence_s() > self._outage_timeout_s:
            raise EtcdUnreachable(f"etcd has not answered for {self._silence_s():.0f} s ({self._where})")

    def _check_open(self) -> None:
        if self._closing or self._failure.done():
            raise self._not_ready()

    def _not_ready(self) -> NotReady:
        if self._failure.done():
            return NotReady(f"this server had to stop: {self._failure.result()}")
        return NotReady("this server is shutting down; ask another or retry later")

    def _raise_failure(self) -> NoReturn:
        raise self._failure.result()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # whatever it is, going on might make another state
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failure.done():
            return
        log.critical("the log has to stop", error=repr(error))
        self._failure.set_result(error)
        stopped = self._not_ready()
        self._appender.refuse_all(stopped)
        self._outcomes.fail(OutcomeUnknown(str(stopped)))
        self._machine.close(stopped)
        self._reads.close(stopped)

    # Snapshots

    def _snapshot_due(self) -> None:
        if not self._snapshotting and self._seat.epoch and not self._closing:
            self._snapshotting = True
            self._tasks.spawn(self._guarded(self._snapshot), "etcd snapshot")

    async def _snapshot(self) -> None:
        epoch = self._seat.epoch
        try:
            await self._machine.reached(self._follower.last_index)
            state = self._machine.state
            resume = self._follower.resume_after(state.index)
            await self._snapshots.write(state, resume, epoch, self._where.compacts)
        except (NotReady, DiskFull) as error:  # the log is whole without it
            log.error("snapshot failed; the log keeps growing", reason=str(error))
        finally:
            self._snapshotting = False
