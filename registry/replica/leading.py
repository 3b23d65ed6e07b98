"""What only the leader can do, for its own clients and for those of the servers that forward to it.

Everything here answers at once or by a future; nothing is forwarded further.
"""

import asyncio
from collections.abc import Callable

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
from .proposals import Done, Proposals, outcome
from .ticker import Ticker


class Overloaded(NotReady):
    """Expected. More writes wait than this server can hold."""


def settled(index: int, value: str = "") -> Answered:
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
        future, done = outcome()
        self._propose(command, encoded, done)
        return future

    def _propose(self, command: Command, encoded: bytes, done: Done) -> None:
        self._driver.check_open()
        self._driver.check_level(command)
        if len(self._proposals) >= limits.PENDING_COMMANDS_MAX:
            raise Overloaded("too many writes wait for the disk; retry later")
        node = self._driver.node
        [index] = node.propose((encoded,))
        self._proposals.add(index, node.term, command, done)
        self._driver.poke()

    def change(self, change: Change) -> "asyncio.Future[Answered]":
        """Raises Busy, ChangeRefused or DiskFull when nothing was proposed."""
        future, done = outcome()
        self._change(change, done)
        return future

    def _change(self, change: Change, done: Done) -> None:
        self._driver.check_open()
        status = self._driver.node.status()
        own_term = self._driver.entries.term(status.commit) == status.term
        if status.role is Role.LEADER and not (status.config_committed and own_term):
            raise Busy("another membership change is under way; retry in a moment")
        index = self._driver.node.propose_config(change)
        self._proposals.add(index, self._driver.node.term, None, done)
        self._driver.poke()

    def read(self, consistent: bool) -> "asyncio.Future[Answered]":
        """The index that a linearizable read needs."""
        future, done = outcome()
        self._read(consistent, done)
        return future

    def _read(self, consistent: bool, done: Done) -> None:
        node = self._driver.node
        index = None if consistent else node.lease_read(node.now + self._ticker.due())
        if index is not None:
            done(settled(index))
            return
        token = self._driver.reads.add(done)
        try:
            node.read(token)
        except NotReady:
            self._driver.reads.forget(token)
            raise
        self._driver.poke()

    def transfer(self, to: str) -> "asyncio.Future[Answered]":
        """Begins to hand over; the value is the successor's id.

        A successor that is asked again, because the first answer was lost, has it already.
        """
        future, done = outcome()
        self._transfer(to, done)
        return future

    def _transfer(self, to: str, done: Done) -> None:
        status = self._driver.node.status()
        if status.role is Role.LEADER and to == status.leader:
            done(settled(0, to))
            return
        successor = self._driver.node.transfer(to)
        self._driver.poke()
        done(settled(0, successor))

    # For peers

    def answer(self, call: pb.Call, reply: Callable[[pb.Answer], None]) -> None:
        """Does what the call asks, and replies once, now or later."""
        number = call.id

        def done(found: Answered | Exception) -> None:
            reply(_refusal(number, found) if isinstance(found, Exception) else self._answer(number, found))

        try:
            self._start(call, done)
        except WeftError as error:
            done(error)

    def _answer(self, number: int, found: Answered) -> pb.Answer:
        return pb.Answer(
            id=number,
            outcome=pb.Answer.APPLIED,
            index=found.index,
            value=found.value,
            code=found.code,
            message=found.message,
            term=self._driver.node.term_at(found.index),
        )

    def _start(self, call: pb.Call, done: Done) -> None:
        match call.WhichOneof("body"):
            case "command":
                self._propose(_checked(call.command), call.command, done)
            case "read":
                self._read(call.read.consistent, done)
            case "change":
                self._change(_change(call.change), done)
            case "transfer":
                self._transfer(call.transfer.to, done)
            case _:
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
