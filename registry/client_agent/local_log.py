"""One node's own state behind the port that the API and the checks know: applied here, kept here.

The same commands and the same `apply` as in the servers' log, without the others: what is answered is on
this disk, and `sync` tells the servers.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import structlog

from weft.aio import Tasks
from weft.errors import WeftError
from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog import commands
from ..catalog.apply import Applied, apply, raise_refusal
from ..catalog.expiry import due
from ..catalog.model import NO_INDEXES, Node
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..errors import NotReady
from ..replica.port import Result, Status
from ..replica.watchers import Watchers
from .store import Registration, Store, registrations

log = structlog.get_logger(__name__)

FORGOTTEN_AFTER_S = 3600.0  # tombstones of what was deregistered are dropped this often


class LocalLog:
    """A Log of one node. Make one with `open`; `stamp` gives each command time and chance."""

    def __init__(self, store: Store, node: Node, stamp: Callable[[], commands.Stamp]) -> None:
        self._store = store
        self._node = node
        self._stamp = stamp
        self._state = State()
        self._kept: Mapping[str, Registration | None] = {}  # None: nobody knows what the file holds
        self._watchers = Watchers()
        self._turn = asyncio.Lock()
        self._tasks = Tasks()
        self._closing = False

    @classmethod
    def open(cls, store: Store, node: Node, stamp: Callable[[], commands.Stamp]) -> "LocalLog":
        """With what the store has, as this node's: its name may be another than at the last start.

        Raises DataDirProblem, ConfigError, CommandRefused.
        """
        log = cls(store, node, stamp)
        found = store.load()
        services = [
            replace(it.service, node=node.name, datacenter=node.datacenter, indexes=NO_INDEXES)
            for it in found
            if it.service
        ]
        checks = [replace(row, node=node.name, indexes=NO_INDEXES) for it in found for row in it.checks]
        applied = log._applied(commands.register(stamp(), node, services, checks))
        log._state = applied.state
        log._kept = {it.key: it for it in log._rows(applied.state)}
        return log

    async def propose(self, command: Command) -> Result:
        """Raises CommandRefused, EnvironmentProblem (then nothing changed), NotReady."""
        # A caller that goes away must not leave a half of it to the next one.
        found: Result | WeftError = await asyncio.shield(
            self._tasks.spawn(self._outcome(command), "registration")
        )
        if isinstance(found, WeftError):
            raise found
        return found

    async def _outcome(self, command: Command) -> Result | WeftError:
        async with self._turn:
            try:
                self._check_open()
                applied = self._applied(command)
                await self._persist(applied.state)
            except WeftError as error:
                return error
            self._state = applied.state
            self._watchers.notify(applied.touched)
            return Result(applied.answer.index, applied.answer.value)

    async def _persist(self, state: State) -> None:
        kept = {it.key: it for it in self._rows(state)}
        before = self._kept
        # Until it is done nobody knows: the next write keeps all that it has, and drops all else.
        self._kept = dict.fromkeys(before.keys() | kept.keys())
        await asyncio.to_thread(self._keep, before, kept)
        self._kept = kept

    def _applied(self, command: Command) -> Applied:
        applied = apply(self._state, command, self._state.index + 1)
        raise_refusal(applied.answer)
        return applied

    def _rows(self, state: State) -> list[Registration]:
        key = (self._node.name,)
        return list(registrations(state.services.prefix(key), state.checks.prefix(key)))

    def _keep(self, before: Mapping[str, Registration | None], now: Mapping[str, Registration]) -> None:
        for key, rows in now.items():
            if before.get(key) != rows:
                self._store.keep(rows)
        for key in before.keys() - now.keys():
            self._store.drop(key)

    async def forget(self) -> None:
        """For ever: drops what is only remembered for who waits on what is gone."""
        while True:
            await asyncio.sleep(FORGOTTEN_AFTER_S)
            stamp = self._stamp()
            if due(self._state, stamp.time_ms):
                try:
                    await self.propose(commands.expire(stamp))
                except WeftError as error:  # a full disk is no reason to remember for ever
                    log.warning("what is gone is remembered for longer", reason=str(error))

    async def read_index(self, *, consistent: bool = False) -> int:
        return self._state.index

    def view(self) -> State:
        return self._state

    def status(self) -> Status:
        return Status("", (), False, self._state.index, self._state.index, durable=True)

    async def wait(self, keys: Collection[WatchKey], after_index: int, timeout_s: float) -> None:
        """Raises NotReady when the log closes meanwhile."""
        if any(self._state.index_of(key) > after_index for key in keys):
            return
        await self._watchers.wait(keys, timeout_s)

    async def failed(self) -> BaseException:
        """Never: a write that fails is its caller's matter."""
        never: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        return await never

    def _check_open(self) -> None:
        if self._closing:
            raise NotReady("this agent stops")

    async def close(self) -> None:
        """Waits for a write that is under way."""
        async with self._turn:
            self._closing = True
            self._watchers.close(NotReady("this agent stops"))
        await self._tasks.close()
