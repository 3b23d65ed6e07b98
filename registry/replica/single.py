"""The log of a registry of one server: in memory, or durable in a data directory.

One loop takes all commands that wait, applies them to a state that nobody sees yet, has them written
and synced together, and only then shows the state and answers. Reads need nothing: the newest state
holds every write that was answered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import structlog
from google.protobuf.message import DecodeError

from weft.aio import Tasks
from weft.errors import DataDirProblem, WeftError
from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.apply import Applied, apply, ensure_known, raise_refusal
from ..catalog.limits import COMMAND_BYTES_MAX
from ..catalog.snapshot import decode
from ..catalog.state import Answered, State
from ..catalog.watches import WatchKey
from ..errors import DiskFull, InvalidCommand, LogCorrupt, NotReady, OutcomeUnknown
from . import limits
from .data_dir import DataDir
from .disk import DirectoryDisk
from .port import Result, Status
from .snapshotting import Snapshotter
from .store import Store
from .watchers import Watchers

log = structlog.get_logger(__name__)

_DEFAULT_ADDRESS = "127.0.0.1:8300"  # where a server would listen for its peers


class _Proposal(NamedTuple):
    command: Command
    encoded: bytes
    answer: "asyncio.Future[Answered]"


class SingleServer:
    """A `port.Log` without peers. Make one with `in_memory` or `open`."""

    def __init__(
        self,
        state: State,
        store: Store | None = None,
        *,
        address: str = _DEFAULT_ADDRESS,
        snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = state
        self._store = store
        self._address = address
        self._release = release
        self._pending: deque[_Proposal] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._watchers = Watchers()
        self._disk_thread = ThreadPoolExecutor(1, "weft-log") if store else None
        self._tasks = Tasks()
        self._snapshots = Snapshotter(store, self._tasks, snapshot_after_bytes) if store else None
        self._loop = self._tasks.spawn(self._run(), "log")

    @classmethod
    async def in_memory(cls, *, address: str = _DEFAULT_ADDRESS) -> Self:
        """A log that ends with the process."""
        return cls(State(), address=address)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        address: str = _DEFAULT_ADDRESS,
        snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES,
    ) -> Self:
        """A durable log. Raises DataDirProblem (LogCorrupt included) or UnknownCommand."""
        directory = DataDir.open(path)
        try:
            store = Store(DirectoryDisk(directory.log))
            return cls(
                recover(store),
                store,
                address=address,
                snapshot_after_bytes=snapshot_after_bytes,
                release=directory.close,
            )
        except LogCorrupt as error:
            directory.close()
            raise LogCorrupt(f"data directory {path}: {error}") from None
        except OSError as error:
            directory.close()
            raise DataDirProblem(
                f"data directory {path}: {error.strerror or error}; mend it, then retry"
            ) from error
        except BaseException:
            directory.close()
            raise

    # The port

    async def propose(self, command: Command) -> Result:
        ensure_known(command)
        encoded = command.SerializeToString()
        if len(encoded) > COMMAND_BYTES_MAX:
            raise InvalidCommand(
                f"the write has {len(encoded)} bytes, more than {COMMAND_BYTES_MAX}; split it"
            )
        if self._closing or self._failure.done():
            raise self._not_ready()
        if len(self._pending) >= limits.PENDING_COMMANDS_MAX:
            raise NotReady("too many writes wait for the disk; retry later")
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._pending.append(_Proposal(command, encoded, answer))
        self._wake.set()
        found = await answer
        raise_refusal(found)
        return Result(found.index, found.value)

    async def read_index(self) -> int:
        if self._closing or self._failure.done():
            raise self._not_ready()
        return self._state.index

    def view(self) -> State:
        return self._state

    def status(self) -> Status:
        alive = not self._closing and not self._failure.done()
        return Status(
            leader=self._address if alive else "",
            peers=(self._address,),
            is_leader=alive,
            last_index=self._state.index,
            applied_index=self._state.index,
            durable=self._store is not None,
        )

    async def wait(self, keys: Collection[WatchKey], after_index: int, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while max(map(self._state.index_of, keys), default=0) <= after_index:
            left = deadline - loop.time()
            if left <= 0 or not await self._watchers.wait(keys, left):
                return

    async def failed(self) -> BaseException:
        return await asyncio.shield(self._failure)

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        await asyncio.wait((self._loop,))
        self._watchers.close(self._not_ready())
        await self._tasks.close()
        if self._snapshots:
            self._snapshots.close()
        if self._disk_thread:
            self._disk_thread.shutdown()
        if self._store:
            self._store.close()
        self._release()

    def _not_ready(self) -> NotReady:
        if self._failure.done():
            return NotReady(f"this server had to stop: {self._failure.result()}")
        return NotReady("this server is shutting down; ask another or retry later")

    # The loop

    async def _run(self) -> None:
        while True:
            if not self._pending:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            try:
                await self._carry_out(batch)
            except DiskFull as error:
                log.error("write refused", reason=str(error))
                _refuse(batch, error)
            except (
                Exception
            ) as error:  # whatever it is, what is in the log is unknown: stop, as a crash would
                self._halt(batch, error)
                return

    def _take(self) -> list[_Proposal]:
        """Waiting commands up to the bounds of a batch."""
        batch: list[_Proposal] = []
        size = 0
        while self._pending and len(batch) < limits.BATCH_COMMANDS_MAX:
            size += len(self._pending[0].encoded) + 4
            if batch and size > limits.BATCH_BYTES_MAX:
                break
            batch.append(self._pending.popleft())
        return batch

    async def _carry_out(self, batch: list[_Proposal]) -> None:
        """Applying comes first: a command that could not be applied must never get into the log."""
        state, steps = self._state, list[Applied]()
        first_index = state.index + 1
        for index, proposal in enumerate(batch, first_index):
            steps.append(apply(state, proposal.command, index))
            state = steps[-1].state
        await self._write(first_index, [proposal.encoded for proposal in batch])
        self._state = state
        for proposal, step in zip(batch, steps, strict=True):
            self._watchers.notify(step.touched)
            if not proposal.answer.done():  # its caller may have been cancelled
                proposal.answer.set_result(step.answer)

    async def _write(self, first_index: int, commands: list[bytes]) -> None:
        if not (self._store and self._snapshots):
            return
        run = asyncio.get_running_loop().run_in_executor
        written = await run(self._disk_thread, self._store.append, first_index, commands)
        if self._snapshots.is_due(written):
            await run(self._disk_thread, self._store.roll, first_index + len(commands))
            self._snapshots.start(lambda: self._state, self._fail)

    def _halt(self, batch: list[_Proposal], error: Exception) -> None:
        self._fail(error)
        unknown = OutcomeUnknown(f"the server failed while writing ({error}); the write may or may not hold")
        _refuse(batch, unknown)
        _refuse(self._pending, self._not_ready())
        self._pending.clear()

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            log.critical("the log has to stop", error=repr(error))
            self._failure.set_result(error)
            self._watchers.close(self._not_ready())


def recover(store: Store) -> State:
    """The state that a store holds. Raises LogCorrupt, UnknownCommand or OSError."""
    index, records = store.snapshot()
    state = decode(records) if index else State()
    if state.index != index:
        raise LogCorrupt(f"the snapshot of index {index} says that it is of {state.index}; restore a backup")
    for index, encoded in store.commands(state.index):
        try:
            command = Command.FromString(encoded)
        except DecodeError as error:
            raise LogCorrupt(f"the log record at index {index} is not a command; restore a backup") from error
        state = apply(state, command, index).state
    return state


def _refuse(proposals: Collection[_Proposal], error: WeftError) -> None:
    for proposal in proposals:
        if not proposal.answer.done():
            proposal.answer.set_exception(error)
