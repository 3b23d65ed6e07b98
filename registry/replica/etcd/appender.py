"""Appends what this server proposes, one transaction at a time, with as many commands as wait.

What a transaction's answer means is decided in `order`. While no answer comes, the same batch is tried
again; it counts as unknown only for callers who do not wait any longer.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Collection
from typing import NamedTuple, Protocol

from weft.errors import WeftError
from weft.pb.catalog.v1.command_pb2 import Command
from weft.pb.vendor.etcd.v3 import rpc_pb2 as pb

from ...catalog.state import Answered
from ...errors import DiskFull, NotReady, OutcomeUnknown
from ..limits import PENDING_COMMANDS_MAX
from ..proposals import Proposals
from . import limits
from .client import Etcd, get, has_value, put
from .errors import EtcdUnreachable
from .layout import Keys, batch_value, parts_of, read_batch, read_tail, tail_value
from .order import Batch, Verdict, judge
from .seat import Seat


class Proposal:
    """A command that waits for its place in the log. `epoch`: of the leader who proposed it, or 0."""

    __slots__ = ("answer", "command", "encoded", "epoch", "sent")

    def __init__(self, command: Command, encoded: bytes, epoch: int) -> None:
        self.command = command
        self.encoded = encoded
        self.epoch = epoch
        self.sent = False
        self.answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    def refuse(self, error: WeftError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def take(self, outcome: Answered | Exception) -> None:
        """The outcome of one attempt. One that failed says nothing: the next attempt may not."""
        if not self.answer.done() and not isinstance(outcome, Exception):
            self.answer.set_result(outcome)


class Attempt(NamedTuple):
    """A batch on its way, and for whom."""

    batch: Batch
    epoch: int
    proposals: list[Proposal]


class Follower(Protocol):
    """What an appender needs of the log that it appends to."""

    @property
    def last_index(self) -> int:
        """Of the last command that was taken."""

    async def take(self, batch: Batch) -> None:
        """A batch that is in the log. Raises Gap."""

    async def catch_up(self) -> int:
        """Takes all that is in the log now; answers its last index."""

    async def applied(self, index: int) -> None:
        """Returns once the command at the index is applied here."""


class Appender:
    """Owns the queue of proposals. `run` carries them out."""

    def __init__(self, etcd: Etcd, keys: Keys, seat: Seat, proposals: Proposals, log: Follower) -> None:
        self._etcd = etcd
        self._keys = keys
        self._seat = seat
        self._outcomes = proposals
        self._log = log
        self._waiting: deque[Proposal] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, proposal: Proposal) -> None:
        """Raises NotReady when too many wait."""
        if len(self._waiting) >= PENDING_COMMANDS_MAX:
            raise NotReady("too many writes wait for etcd; retry later")
        self._waiting.append(proposal)
        self._idle.clear()
        self._wake.set()

    async def idle(self) -> None:
        """Returns once nothing waits."""
        await self._idle.wait()

    def refuse_all(self, error: WeftError) -> None:
        for proposal in self._waiting:
            proposal.refuse(error)
        self._waiting.clear()

    async def run(self) -> None:
        """Until it is cancelled. Raises what makes the log stop."""
        while True:
            self._wake.clear()
            while proposals := self._next():
                await self._carry_out(proposals)
            self._idle.set()
            await self._wake.wait()

    def _next(self) -> list[Proposal]:
        """Waiting proposals of one epoch, up to the bounds of a batch. Nobody waits for an answered one."""
        found: list[Proposal] = []
        size = 0
        while self._waiting and len(found) < limits.BATCH_COMMANDS_MAX:
            first = self._waiting[0]
            if not first.answer.done():
                size += len(first.encoded) + 8
                if found and (size > limits.REQUEST_BYTES_MAX or first.epoch != found[0].epoch):
                    break
                found.append(first)
            self._waiting.popleft()
        return found

    async def _carry_out(self, proposals: list[Proposal]) -> None:
        """Returns when the batch has its place, was refused, or nobody waits for it."""
        try:
            await self._log.applied(self._log.last_index - limits.UNAPPLIED_MAX)
            verdict = Verdict.TAKEN
            while verdict is Verdict.TAKEN and (waiting := [it for it in proposals if not it.answer.done()]):
                verdict = await self._settle(self._attempt(waiting))
            if verdict is Verdict.DEPOSED:
                _refuse(proposals, NotReady("this server lost its leadership before the write; retry"))
        except asyncio.CancelledError:
            _refuse(proposals, OutcomeUnknown("this server is shutting down; the write may or may not hold"))
            raise
        except (DiskFull, NotReady, OutcomeUnknown) as error:
            _refuse(proposals, error)
        except Exception as error:
            _refuse(proposals, OutcomeUnknown(f"this server had to stop ({error}); the write may hold"))
            raise

    def _attempt(self, proposals: list[Proposal]) -> Attempt:
        first, writer = self._log.last_index + 1, secrets.randbits(63)
        for index, proposal in enumerate(proposals, first):
            proposal.sent = True
            self._outcomes.add(index, writer, proposal.command, proposal.take)
        batch = Batch(first, writer, tuple(it.encoded for it in proposals))
        return Attempt(batch, proposals[0].epoch, proposals)

    async def _settle(self, attempt: Attempt) -> Verdict:
        """Tries one batch until it is known what became of it."""
        pause, unsure = limits.RETRY_MIN_S, False
        while True:
            try:
                verdict = await self._try(attempt)
            except EtcdUnreachable:
                unsure = True
                if all(it.answer.done() for it in attempt.proposals):
                    return Verdict.MISSING
                await asyncio.sleep(pause)
                pause = min(2 * pause, limits.RETRY_MAX_S)
                continue
            except DiskFull as error:
                verdict = await self._after_full(attempt, error, unsure)
            except NotReady as error:
                if unsure:
                    raise OutcomeUnknown(f"{error}; the write may or may not hold") from None
                raise
            if verdict is not Verdict.MISSING:
                return verdict

    async def _after_full(self, attempt: Attempt, error: DiskFull, unsure: bool) -> Verdict:
        """The transaction that uses up the quota is carried out and answered with this error."""
        if await self._found(attempt):
            return Verdict.APPENDED
        if unsure:
            raise OutcomeUnknown(f"{error}; the write may or may not hold") from None
        raise error

    async def _found(self, attempt: Attempt) -> bool:
        """Whether the batch is in the log; then it is taken."""
        key = self._keys.log(attempt.batch.first)
        rows = (await self._etcd.range(key)).kvs
        writer = read_batch(rows[0].value, key).writer if rows else None
        if writer != attempt.batch.writer:
            return False
        await self._log.take(attempt.batch)
        return True

    async def _try(self, attempt: Attempt) -> Verdict:
        batch, keys = attempt.batch, self._keys
        for position, part in enumerate(parts_of(batch)):
            await self._etcd.txn([], [put(keys.part(batch.first, batch.writer, position), part)])
        compares = [has_value(keys.tail, tail_value(batch.first - 1))]
        if attempt.epoch:
            compares += self._seat.fence(attempt.epoch)
        found = await self._etcd.txn(
            compares,
            [put(keys.log(batch.first), batch_value(batch)), put(keys.tail, tail_value(batch.last))],
            [get(keys.tail), get(keys.log(batch.first))],
        )
        verdict = self._judge(attempt, found)
        if verdict is Verdict.APPENDED:
            await self._log.take(batch)
        elif verdict is Verdict.TAKEN:
            await self._log.catch_up()
        elif verdict is Verdict.DEPOSED:
            self._seat.vacate()
        return verdict

    def _judge(self, attempt: Attempt, found: pb.TxnResponse) -> Verdict:
        tail, writer = attempt.batch.last, None
        if not found.succeeded:
            tails, logs = (answer.response_range.kvs for answer in found.responses)
            tail = read_tail(tails[0].value) if tails else 0
            writer = read_batch(logs[0].value, logs[0].key).writer if logs else None
        return judge(
            attempt.batch,
            succeeded=found.succeeded,
            tail=tail,
            writer=writer,
            fenced=attempt.epoch != 0,
        )


def _refuse(proposals: Collection[Proposal], error: WeftError) -> None:
    for proposal in proposals:
        proposal.refuse(error)
