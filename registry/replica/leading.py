"""What only the leader can do, for its own clients and for those of the servers that forward to it.

Everything here answers at once or by a future; nothing is forwarded further.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError

from weft.errors import WeftError
from weft.pb.catalog.v1.command_pb2 import Command
from weft.pb.raft.v1 import raft_pb2 as pb

from ..catalog.apply import ensure_known
from ..catalog.limits import COMMAND_BYTES_MAX
from ..catalog.state import Answered
from ..errors import DiskFull, InvalidCommand, NotReady, OutcomeUnknown, UnknownCommand
from ..raft.config import Change, ChangeKind
from ..raft.errors import Busy, ChangeRefused
from ..raft.ready import Role
from . import limits
from .driver import Driver
from .proposals import Proposals
from .ticker import Ticker

T = TypeVar("T")


class Overloaded(NotReady):
    """Expected. More writes wait than this server can hold."""


def done(index: int, value: str = "") -> Answered:
    """The outcome of something that has none of its own."""
    return Answered(0, index, 0, "", value)


class Leading:
    """Raises NotLeader wherever another server leads; then nothing was done."""

    def __init__(self, driver: Driver, proposals: Proposals, ticker: Ticker) -> None:
        self._driver = driver
        self._proposals = proposals
        self._ticker = ticker

    def propose(self, command: Command, encoded: bytes) -> "asyncio.Future[Answered]":
        """Raises Busy, Overloaded, InvalidCommand or DiskFull when nothing was proposed."""
        self._driver.check_open()
        self._driver.check_level(command)
        if len(self._proposals) >= limits.PENDING_COMMANDS_MAX:
            raise Overloaded("too many writes wait for the disk; retry later")
        [index] = self._driver.node.propose([encoded])
        self._driver.poke()
        return self._proposals.add(index, self._driver.node.term, command)

    def change(self, change: Change) -> "asyncio.Future[Answered]":
        """Raises Busy, ChangeRefused or DiskFull when nothing was proposed."""
        self._driver.check_open()
        status = self._driver.node.status()
        own_term = self._driver.entries.term(status.commit) == status.term
        if status.role is Role.LEADER and not (status.config_committed and own_term):
            raise Busy("another membership change is under way; retry in a moment")
        index = self._driver.node.propose_config(change)
        self._driver.poke()
        return self._proposals.add(index, self._driver.node.term, None)

    def read(self, consistent: bool) -> "asyncio.Future[Answered]":
        """The index that a linearizable read needs."""
        node = self._driver.node
        index = None if consistent else node.lease_read(node.now + self._ticker.due())
        if index is not None:
            return _resolved(done(index))
        token, confirmed = self._driver.reads.add()
        try:
            node.read(token)
        except NotReady:
            self._driver.reads.forget(token)
            raise
        self._driver.poke()
        return confirmed

    def transfer(self, to: str) -> "asyncio.Future[Answered]":
        """Begins to hand over; the value is the successor's id.

        A successor that is asked again, because the first answer was lost, has it already.
        """
        status = self._driver.node.status()
        if status.role is Role.LEADER and to == status.leader:
            return _resolved(done(0, to))
        successor = self._driver.node.transfer(to)
        self._driver.poke()
        return _resolved(done(0, successor))

    # For peers

    def answer(self, call: pb.Call, reply: Callable[[pb.Answer], None]) -> None:
        """Does what the call asks, and replies once, now or later."""
        try:
            outcome = self._start(call)
        except WeftError as error:
            reply(_refusal(call.id, error))
            return
        outcome.add_done_callback(lambda found: reply(_answer(call.id, found)))

    def _start(self, call: pb.Call) -> "asyncio.Future[Answered]":
        match call.WhichOneof("body"):
            case "command":
                return self.propose(_checked(call.command), call.command)
            case "read":
                return self.read(call.read.consistent)
            case "change":
                return self.change(_change(call.change))
            case "transfer":
                return self.transfer(call.transfer.to)
        raise InvalidCommand("a call of unknown kind; run the same version on every server")


def _checked(encoded: bytes) -> Command:
    if len(encoded) > COMMAND_BYTES_MAX:
        raise InvalidCommand(f"the write has {len(encoded)} bytes, more than {COMMAND_BYTES_MAX}; split it")
    try:
        command = Command.FromString(encoded)
    except DecodeError as error:
        raise InvalidCommand(f"the write is not a command ({error})") from error
    ensure_known(command)
    return command


def _change(change: pb.Change) -> Change:
    try:
        return Change(ChangeKind(change.kind), change.id, change.address)
    except ValueError:
        raise ChangeRefused("a change of unknown kind; run the same version on every server") from None


def _resolved(value: T) -> "asyncio.Future[T]":
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def _answer(number: int, outcome: "asyncio.Future[Answered]") -> pb.Answer:
    if outcome.cancelled():
        return _refusal(number, OutcomeUnknown("the leader gave up on it"))
    if error := outcome.exception():
        return _refusal(number, error)
    found = outcome.result()
    return pb.Answer(
        id=number,
        outcome=pb.Answer.APPLIED,
        index=found.index,
        value=found.value,
        code=found.code,
        message=found.message,
    )


def _refusal(number: int, error: BaseException) -> pb.Answer:
    kind = pb.Answer.NOT_DONE
    if isinstance(error, OutcomeUnknown):
        kind = pb.Answer.UNKNOWN
    elif isinstance(error, DiskFull):
        kind = pb.Answer.DISK_FULL
    elif isinstance(error, ChangeRefused | InvalidCommand | UnknownCommand):
        kind = pb.Answer.REFUSED
    return pb.Answer(id=number, outcome=kind, message=str(error))


def interpret(answer: pb.Answer) -> Answered:
    """What the leader's answer says. Raises NotReady, OutcomeUnknown, ChangeRefused or DiskFull."""
    match answer.outcome:
        case pb.Answer.APPLIED:
            return Answered(0, answer.index, answer.code, answer.message, answer.value)
        case pb.Answer.UNKNOWN:
            raise OutcomeUnknown(answer.message)
        case pb.Answer.REFUSED:
            raise ChangeRefused(answer.message)
        case pb.Answer.DISK_FULL:
            raise DiskFull(answer.message)
    raise NotReady(answer.message or "the server asked does not lead; retry later")
