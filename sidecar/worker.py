"""A worker of `weft sidecar --workers N`: the switch alone, in a process of its own.

Its supervisor tells what is served and by whose certificate, binds the sockets, and is told what is counted.
It ends when that asks for it, and on its own when it is lost: nobody would tell it of a revocation.
"""

import asyncio
import json
import signal
import socket
import sys
from functools import partial

import structlog

from weft import logs
from weft.aio import Tasks
from weft.clock import Clock, SystemClock
from weft.errors import EnvironmentProblem, PortTaken, WeftError
from weft.pb.mesh.v1 import mesh_pb2
from weft.tap_query import parse_tap

from . import memory
from .channel import LOST_BYTES, Channel, Kind, Message
from .errors import WorkerLost
from .gains import Gains
from .h2.outbox import HELD_BYTES_MAX
from .identity import svid_of_pem
from .outlets import Outlets
from .policy.compile import compile_snapshot
from .policy.share import share_of
from .reporting import Reporting
from .serving import Serving, frame_switch, status_of
from .tapping import TapFeed
from .telemetry import Telemetry
from .traffic import Address

TELL_S = 1.0  # how old the supervisor's counters are at most
ORPHAN_S = 5.0  # for open streams when the supervisor is gone
TAP_WAIT_S = 0.5

log = structlog.get_logger(__name__)


class RemoteBinder:
    """Sockets are the supervisor's, who keeps them when we die."""

    def __init__(self, channel: Channel, tasks: Tasks) -> None:
        self._channel = channel
        self._tasks = tasks
        self._asked: dict[int, tuple[Address, asyncio.Future[list[socket.socket]]]] = {}
        self._released: list[Address] = []  # and the supervisor has not been told
        self._about = 0

    async def bind(self, address: Address) -> list[socket.socket]:
        await self._tell_released()  # in this order: it may be the same address
        self._about += 1
        answer: asyncio.Future[list[socket.socket]] = asyncio.get_running_loop().create_future()
        self._asked[self._about] = address, answer
        await self._channel.send(Kind.BIND, _said(address), self._about)
        return await answer

    def bound(self, message: Message) -> None:
        address, answer = self._asked.pop(message.about)
        if answer.done():  # nobody waits any more
            for one in message.sockets:
                one.close()
            if message.sockets:
                self.release(address)
        elif message.sockets:
            answer.set_result(message.sockets)
        else:
            said = json.loads(message.content)
            kind = PortTaken if said["taken"] else EnvironmentProblem
            answer.set_exception(kind(said["why"]))

    def release(self, address: Address) -> None:
        self._released.append(address)
        self._tasks.spawn(self._tell_released(), "release a socket")

    async def _tell_released(self) -> None:
        while self._released:
            await self._channel.send(Kind.RELEASE, _said(self._released.pop(0)))


def _said(address: Address) -> bytes:
    told = {"host": address.host, "port": address.port, "path": address.path, "mode": address.mode}
    return json.dumps(told).encode()


class Worker:
    """One of `workers`. `channel` leads to the supervisor."""

    def __init__(self, channel: Channel, workers: int, clock: Clock) -> None:
        self._channel = channel
        self._workers = workers
        self._clock = clock
        self._tasks = Tasks()
        self._telemetry = Telemetry()
        self._outlets = Outlets(self._telemetry, clock)
        self._binder = RemoteBinder(channel, self._tasks)
        make = partial(frame_switch, held_max=HELD_BYTES_MAX // workers)
        self._serving = Serving(make, self._telemetry, self._outlets, clock, self._binder)
        self._reporting = Reporting(self._outlets, self._telemetry, self._tasks.spawn)
        self._gains = Gains(self._telemetry)
        self._configs: asyncio.Queue[Message] = asyncio.Queue()
        self._taps: dict[int, asyncio.Task[None]] = {}
        self._drained = asyncio.Event()
        self._trouble = ""

    async def run(self) -> None:
        """Until it has drained."""
        self._tasks.spawn(self._apply_each(), "configuration")
        listening = self._tasks.spawn(self._listen(), "supervisor")
        drained = self._tasks.spawn(self._drained.wait(), "drained")
        await asyncio.wait((listening, drained), return_when=asyncio.FIRST_COMPLETED)
        if not self._drained.is_set():
            log.error("the supervisor is gone", grace_s=ORPHAN_S)
            await self._serving.drain(ORPHAN_S)
        await self._tasks.close()
        await self._reporting.close()
        self._channel.close()

    async def _listen(self) -> None:
        try:
            while True:
                self._take(await self._channel.receive())
        except WorkerLost:
            return

    def _take(self, message: Message) -> None:
        match message.kind:
            case Kind.SVID:
                self._serving.use_svid(svid_of_pem(message.content, self._clock.wall()))
            case Kind.CONFIG:
                self._configs.put_nowait(message)
            case Kind.BOUND:
                self._binder.bound(message)
            case Kind.STATUS:
                self._tasks.spawn(self._tell_status(message.about), "status")
            case Kind.COUNTERS:
                self._tasks.spawn(self._tell_counters(message.about), "counters")
            case Kind.TAP:
                self._taps[message.about] = self._tasks.spawn(self._tap(message), "tap")
            case Kind.UNTAP:
                if tap := self._taps.pop(message.about, None):
                    tap.cancel()
            case Kind.REOPEN:
                self._tasks.spawn(self._reporting.reopen(), "reopen the access log")
            case Kind.DRAIN:
                self._tasks.spawn(self._drain(json.loads(message.content)["seconds"]), "drain")
            case _:
                raise WorkerLost(f"the supervisor sends {message.kind.name}")

    # --- what is served ---

    async def _apply_each(self) -> None:
        while True:
            message = await self._configs.get()
            first = not self._serving.started.is_set()
            try:
                await self._apply(mesh_pb2.Delta.FromString(message.content))
            except Exception as error:  # whatever it is, the next configuration is to be tried
                if not isinstance(error, WeftError):
                    log.error("a configuration cannot be applied", exc_info=error)
                said = {"why": str(error) or type(error).__name__, "taken": isinstance(error, PortTaken)}
                await self._channel.send(Kind.APPLIED, json.dumps(said).encode(), message.about)
                continue
            await self._channel.send(Kind.APPLIED, b"", message.about)
            if first:
                memory.settle()
                self._reporting.start()
                self._tasks.spawn(self._tell_on(), "tell what is counted")

    async def _apply(self, delta: mesh_pb2.Delta) -> None:
        whole = compile_snapshot({it.name: it for it in delta.upserts}, delta.index)
        snapshot = share_of(whole, self._workers)
        await self._serving.use_snapshot(snapshot)
        await self._reporting.use(snapshot)

    # --- what is told ---

    async def _tell_on(self) -> None:
        while True:
            await self._tell_counters(0)
            switch = self._serving.switch
            if switch is not None and (trouble := switch.trouble()) != self._trouble:
                self._trouble = trouble
                await self._channel.send(Kind.TROUBLE, trouble.encode())
            await asyncio.sleep(TELL_S)

    async def _tell_counters(self, about: int) -> None:
        await self._channel.send(Kind.GAINED, json.dumps(self._gains.take()).encode(), about)

    async def _tell_status(self, about: int) -> None:
        status = await status_of(self._serving.switch) if self._serving.switch else {}
        await self._channel.send(Kind.ANSWER, json.dumps(status, default=str).encode(), about)

    async def _tap(self, message: Message) -> None:
        """Lines until it is told to stop; whoever reads slowly makes us wait, and the tap drops."""
        asked = json.loads(message.content)
        with self._outlets.tapped(parse_tap(asked["query"]).filter, asked["rate"]) as tap:
            feed = TapFeed(tap, 0.0)
            while True:
                if lines := await feed.next(TAP_WAIT_S):
                    lost = feed.lost().to_bytes(LOST_BYTES, "big")
                    await self._channel.send(Kind.LINES, lost + lines, message.about)

    async def _drain(self, seconds: float) -> None:
        """The supervisor may ask once more, with less time."""
        await self._serving.drain(seconds)
        if not self._drained.is_set():
            await self._tell_counters(0)
            await self._channel.send(Kind.DRAINED)
            self._drained.set()


async def _serve(descriptor: int, workers: int) -> None:
    await Worker(Channel(socket.socket(fileno=descriptor)), workers, SystemClock()).run()


def main() -> None:
    """`workers.PROGRAM` with DESCRIPTOR NUMBER WORKERS LOG_LEVEL LOG_FORMAT, by `workers.WorkerPool`."""
    import uvloop

    descriptor, number, workers, level, style = sys.argv[1:]
    # A signal to all of the group, or of the unit, is the supervisor's to answer.
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    logs.configure(level, style=style)
    structlog.contextvars.bind_contextvars(worker=int(number))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(descriptor), int(workers)))
