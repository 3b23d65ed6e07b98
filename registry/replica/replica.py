"""The log of the registry on Raft: one server or several, in memory or in a data directory.

A write goes to the leader, wherever a client brings it; it is answered here once it is applied here, so
that whoever wrote can read it. Outcomes that are unknown are asked for again with the same request id,
which the state machine answers without applying twice.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Self

import structlog

from weft.aio import Tasks
from weft.errors import DataDirProblem, EnvironmentProblem, WeftError
from weft.pb.catalog.v1.command_pb2 import Command
from weft.pb.raft.v1 import raft_pb2 as pb

from ..catalog import commands
from ..catalog.apply import ensure_known, raise_refusal
from ..catalog.feature_level import feature_level
from ..catalog.limits import COMMAND_BYTES_MAX
from ..catalog.snapshot import decode
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..errors import InvalidCommand, LogCorrupt, NotReady, OutcomeUnknown
from ..raft.config import Config, Member
from ..raft.errors import ChangeRefused
from ..raft.messages import Message, SnapshotMeta
from ..raft.ready import Role, Soft
from . import limits
from .asking import Asking
from .disk_thread import DiskThread, Inline
from .driver import Driver
from .entries import Entries
from .errors import NotAMember, PeerRefused
from .home import Home
from .leading import Leading
from .machine import Machine
from .membership import Membership
from .opening import Known
from .options import Options
from .port import Result, Status
from .proposals import Proposals
from .server_file import cluster_id_of
from .snapshots import write_meta
from .snapshotting import Snapshotter
from .ticker import Ticker
from .transport import Transport
from .turn import Turn
from .upkeep import keep_members
from .wal import Recovered

log = structlog.get_logger(__name__)

DEFAULT_ADDRESS = "127.0.0.1:8300"  # where a server of one would listen for others
CLOSE_S = 2.0  # for writes under way, and for handing leadership over


class Replica:
    """A `port.Log`. Make one with `in_memory`, `open` (both are clusters of one) or `start`."""

    def __init__(
        self,
        home: Home,
        found: Recovered,
        *,
        tick_s: float = limits.TICK_S,
        election_ticks: int = limits.ELECTION_TICKS,
        snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES,
    ) -> None:
        self._home = home
        self._tick_s = tick_s
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[BaseException] = self._loop.create_future()
        self._closing = False
        self._tasks = Tasks()
        self._transport: Transport | None = None
        self._leader = ""
        self._leader_seen = self._loop.time()
        self._turn: asyncio.Future[None] = self._loop.create_future()
        self._turn_end = Turn()
        proposals = Proposals()
        self._proposals = proposals
        meta = found.snapshot or SnapshotMeta()
        state = decode(found.rows) if meta.index else State()
        if state.index != meta.index:
            raise LogCorrupt(
                f"the snapshot of {meta.index} says that it is of {state.index}; restore a backup"
            )
        self._machine = Machine(state, meta.term, proposals, self.failed_with)
        self._disk = DiskThread("weft-log") if home.durable else Inline()
        home.write_in_background()
        self._driver = Driver(
            home.server_id,
            home.wal,
            Entries(home.wal.disk, found),
            self._machine,
            proposals,
            self,
            self._disk,
            self._turn_end,
            random.Random(),
            election_ticks,
        )
        self._snapshots = Snapshotter(
            home.wal,
            self._driver.run_alone,
            DiskThread("weft-snapshot") if home.durable else Inline(),
            snapshot_after_bytes,
            sum(len(entry.data) for entry in found.entries),
            self._applied,
            self._compacted,
            self.failed_with,
        )
        self._ticker = Ticker(tick_s, self._driver.tick, lambda: self._driver.node.role is Role.LEADER)
        self._leading = Leading(self._driver, proposals, self._ticker)
        self._asking = Asking(self)
        self.membership = Membership(lambda: self._driver.node.status(), tick_s, self._leading, self._asking)
        if meta.config.members and not meta.index and not home.cluster_id:
            home.enter(cluster_id_of(meta.config.voters))  # a crash came between the two
        self._writer = self._tasks.spawn(self._driver.run(), "log")

    @classmethod
    async def in_memory(cls, *, address: str = DEFAULT_ADDRESS) -> Self:
        """A cluster of one that ends with the process. It leads when this returns."""
        return await cls._alone(Home.in_memory(), address, limits.SNAPSHOT_AFTER_BYTES)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        address: str = DEFAULT_ADDRESS,
        snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES,
    ) -> Self:
        """A durable cluster of one. When this returns it leads, and has applied all that it ever answered.

        Raises DataDirProblem (LogCorrupt included) or UnknownCommand.
        """
        return await cls._alone(Home.open(path), address, snapshot_after_bytes)

    @classmethod
    async def _alone(cls, home: Home, address: str, snapshot_after_bytes: int) -> Self:
        replica = cls(home, home.recover(), tick_s=limits.TICK_S, snapshot_after_bytes=snapshot_after_bytes)
        try:
            if not replica.initialised:
                await replica.bootstrap([Member(home.server_id, address)])
            if not replica._driver.is_sole_voter:
                raise DataDirProblem(
                    "the data directory is of a server in a cluster of several: run weft server with it"
                )
            await replica._lead()
        except BaseException:
            await replica.close()
            raise
        return replica

    @classmethod
    async def start(cls, options: Options) -> Self:
        """A member of a cluster, or one that waits for `bootstrap` or `join`.

        Raises DataDirProblem, PortTaken, or ConfigError on unusable TLS material.
        """
        home = Home.open(options.data_dir) if options.data_dir else Home.in_memory()
        replica = cls(
            home,
            home.recover(),
            tick_s=options.tick_s,
            election_ticks=options.election_ticks,
            snapshot_after_bytes=options.snapshot_after_bytes,
        )
        try:
            replica._transport = Transport(replica, options, random.random, replica._turn_end)
            replica._transport.update(replica._driver.node.config)
            replica._transport.start()
            replica._keep_members(replica._transport.address)
        except BaseException:
            await replica.close()
            raise
        if replica._driver.is_sole_voter:
            replica._driver.node.campaign()
        return replica

    def _keep_members(self, address: str) -> None:
        work = keep_members(self._driver, self._leading, self.membership, address)
        self._tasks.spawn(work, "membership")

    async def _lead(self) -> None:
        """Elects the only voter without waiting for a clock. Raises what stopped the log."""
        self._driver.node.campaign()
        self._driver.poke()
        try:
            await self.read_index(consistent=True)
        except NotReady:
            if self._failure.done():
                raise self._failure.result() from None
            raise

    # Before and at the beginning of a cluster

    @property
    def server_id(self) -> str:
        return self._home.server_id

    @property
    def cluster_id(self) -> str:
        """ "" until this server belongs to a cluster."""
        return self._home.cluster_id

    @property
    def address(self) -> str:
        """Where the other servers find this one."""
        return self._transport.address if self._transport else DEFAULT_ADDRESS

    @property
    def initialised(self) -> bool:
        """It has a log: it took part in a bootstrap, or got the log of a cluster."""
        entries = self._driver.entries
        return entries.last_index() > 0 or bool(entries.snapshot().config.members)

    async def bootstrap(self, members: Sequence[Member]) -> None:
        """Begins a cluster of these voters. Every one of them must be given the same list, once.

        Raises ChangeRefused when this server already belongs to a cluster or is not among them.
        """
        config = Config(tuple(sorted(members, key=lambda member: member.id)))
        if self.initialised or self.cluster_id:
            raise ChangeRefused("this server belongs to a cluster already; only a new one can begin another")
        if self.server_id not in config.voters:
            raise ChangeRefused(f"this server ({self.server_id}) is not among those who begin the cluster")
        beginning = SnapshotMeta(0, 0, config)
        await self._disk.run(lambda: self._write_beginning(beginning))
        self._home.enter(cluster_id_of(config.voters))
        self._driver.begin(beginning)

    def _write_beginning(self, beginning: SnapshotMeta) -> None:
        writer = self._home.wal.snapshot_writer(0)
        try:
            writer.write([write_meta(beginning)])
            writer.finish()
        except OSError as error:
            raise EnvironmentProblem(
                f"the cluster cannot begin: {error.strerror or error}; mend the disk, then retry"
            ) from error

    async def join(self, address: str) -> None:
        """Asks the server at `address` to take this one in; it is promoted once it has caught up.

        Raises ChangeRefused, PeerRefused or NotReady.
        """
        if self._transport is None:
            raise ChangeRefused("this server listens for no others; run weft server")
        cluster_id = await self._transport.join(address)
        if self.cluster_id and self.cluster_id != cluster_id:
            raise PeerRefused(
                f"the server at {address} is of cluster {cluster_id}, this one of {self.cluster_id}: "
                "check the address, or start with an empty data directory"
            )
        self._home.enter(cluster_id)

    async def identify(self, address: str) -> pb.Identity:
        """Who answers at `address`. Raises NotReady, PeerRefused."""
        if self._transport is None:
            raise ChangeRefused("this server listens for no others; run weft server")
        return await self._transport.identify(address)

    # The port

    async def propose(self, command: Command) -> Result:
        ensure_known(command)
        encoded = command.SerializeToString()
        if len(encoded) > COMMAND_BYTES_MAX:
            raise InvalidCommand(
                f"the write has {len(encoded)} bytes, more than {COMMAND_BYTES_MAX}; split it"
            )
        try:
            answer = await self._asking.ask(
                lambda: self._leading.propose(command, encoded), lambda: pb.Call(command=encoded)
            )
        except ChangeRefused as error:  # a leader of an older version
            raise NotReady(f"the leader refuses the write: {error}") from None
        if self._machine.state.index < answer.index:
            await self._reach(answer.index, OutcomeUnknown("the write holds, but is not applied here yet"))
        raise_refusal(answer)
        return Result(answer.index, answer.value)

    async def read_index(self, *, consistent: bool = False) -> int:
        answer = await self._asking.ask(
            lambda: self._leading.read(consistent),
            lambda: pb.Call(read=pb.ReadIndex(consistent=consistent)),
        )
        if self._machine.state.index < answer.index:
            await self._reach(answer.index, NotReady("this server is behind the others; ask another one"))
        return answer.index

    async def _reach(self, index: int, late: WeftError) -> None:
        try:
            async with asyncio.timeout(limits.PROPOSE_TIMEOUT_S):
                await self._machine.reached(index)
        except TimeoutError:
            raise late from None

    # The way to the leader

    def check(self) -> None:
        if self._closing or self._failure.done():
            raise self._not_ready()
        self._driver.check_open()

    def leader(self) -> str:
        leader = self._driver.node.leader
        if leader == self.server_id or self._driver.is_sole_voter:
            return ""
        if not self.cluster_id:
            raise NotAMember("this server belongs to no cluster yet: bootstrap one, or join one")
        if not leader:
            raise NotReady("there is no leader now; retry later")
        return leader

    async def call(self, server_id: str, call: pb.Call) -> pb.Answer:
        if self._transport is None:
            raise NotReady("this server listens for no others; run weft server")
        answer = await self._transport.call(server_id, call)
        if answer.term:
            self._driver.learn_commit(answer.index, answer.term)
        return answer

    async def turned(self, timeout_s: float) -> None:
        """Returns when role, term or leader have changed, or the time is out."""
        await asyncio.wait((self._turn,), timeout=timeout_s)

    def view(self) -> State:
        return self._machine.state

    def status(self) -> Status:
        node = self._driver.node
        alive = not self._closing and not self._failure.done()
        leader = node.config.get(node.leader) if alive else None
        leads = alive and node.role is Role.LEADER
        return Status(
            leader=leader.address if leader else "",
            peers=tuple(member.address for member in node.config.members if member.voter),
            is_leader=leads,
            last_index=self._driver.entries.last_index(),
            applied_index=self._machine.state.index,
            durable=self._home.durable,
            server_id=self.server_id,
            leader_id=leader.id if leader else "",
            term=node.term,
            commit_index=node.commit,
            last_contact_s=0.0 if leads else self._loop.time() - self._leader_seen,
        )

    @property
    def longest_stall_s(self) -> float:
        """How late the event loop, which is the election timer, has been at worst."""
        return self._ticker.longest_stall_s

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
        await self._hand_over()
        self._closing = True
        await self._proposals.drained(CLOSE_S)
        self._ticker.close()
        self._machine.close(self._not_ready())
        self._proposals.fail(OutcomeUnknown("the server was shut down; the write may hold"))
        self._driver.close()
        await asyncio.wait((self._writer,))
        if self._transport:
            await self._transport.close()
        await self._tasks.close()
        await self._snapshots.close()
        self._disk.close()
        self._home.close()

    async def _hand_over(self) -> None:
        """A leader that leaves names its successor, so that nobody waits for an election."""
        node = self._driver.node
        if self._failure.done() or node.role is not Role.LEADER:
            return
        if not self._transport or not any(map(self._transport.connected, node.config.voters)):
            return
        try:
            node.transfer()
            self._driver.poke()
        except (NotReady, ChangeRefused):
            return
        await self.turned(CLOSE_S)

    def _not_ready(self) -> NotReady:
        if self._failure.done():
            return NotReady(f"this server had to stop: {self._failure.result()}")
        return NotReady("this server is shutting down; ask another or retry later")

    # What the driver tells

    def send(self, message: Message) -> None:
        if self._transport:
            self._transport.send(message)

    def changed(self, soft: Soft) -> None:
        self._turn.set_result(None)
        self._turn = self._loop.create_future()
        if self._transport and self._leader != soft.leader:
            self._transport.leads_no_more(self._leader)
        self._leader = soft.leader
        log.info("leadership", role=soft.role.name.lower(), term=soft.term, leader=soft.leader)

    def reconfigured(self, config: Config) -> None:
        if self._transport:
            self._transport.update(config)

    def written(self, size_bytes: int) -> None:
        self._snapshots.written(size_bytes)

    def installing(self) -> None:
        self._snapshots.cancel()

    def failed_with(self, error: BaseException) -> None:
        """The log has to stop: whatever it is, going on could make it wrong."""
        if self._failure.done():
            return
        log.critical("the log has to stop", error=repr(error))
        self._failure.set_result(error)
        self._driver.close()
        self._proposals.fail(
            OutcomeUnknown(f"the server failed while writing ({error}); the write may or may not hold")
        )
        self._driver.reads.fail(self._not_ready())
        self._machine.close(self._not_ready())

    def _applied(self) -> tuple[SnapshotMeta, State] | None:
        state = self._machine.state
        if state.index <= self._driver.entries.snapshot().index:
            return None
        return SnapshotMeta(state.index, self._machine.term, self._driver.node.config_at(state.index)), state

    def _compacted(self, meta: SnapshotMeta) -> frozenset[int]:
        self._driver.entries.compact(meta)
        return self._driver.node.snapshots_in_use()

    # What the listener asks and tells

    def known(self) -> Known:
        members = (member.id for member in self._driver.node.config.members)
        level = feature_level(self._machine.state, members)
        return Known(self.server_id, self.cluster_id, level)

    def own_level(self) -> int:
        return commands.COMMAND_VERSION

    def deliver(self, message: Message) -> None:
        self._ticker.deliver()
        self._driver.step(message)
        if message.from_ == self._driver.node.leader:
            self._leader_seen = self._loop.time()

    def answer(self, call: pb.Call, reply: Callable[[pb.Answer], None]) -> None:
        self._leading.answer(call, reply)

    def identity(self) -> pb.Identity:
        node = self._driver.node
        leader = node.config.get(node.leader)
        return pb.Identity(
            server_id=self.server_id,
            cluster_id=self.cluster_id,
            address=self.address,
            leader=leader.address if leader else "",
            members=[pb.Member(id=it.id, address=it.address, voter=it.voter) for it in node.config.members],
        )

    async def admit(self, server_id: str, address: str) -> str:
        if not self.cluster_id:
            raise NotAMember(f"the server at {self.address} belongs to no cluster yet; retry later")
        for member in self.membership.members():
            if member.address == address and member.id != server_id:
                await self.membership.remove(member.id)  # its disk was emptied: it is a new server now
        await self.membership.add(server_id, address)
        return self.cluster_id
