"""Several processes behind one sidecar: a switch whose work is done by workers.

The supervisor has the identity, the subscription, the state, the admin port and the listening sockets; each
worker has a whole switch, on sockets of its own among which the kernel divides connections (SO_REUSEPORT). A
worker that dies is replaced: its sockets stay open meanwhile, and what waits in them is served by the next.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from weft.aio import Tasks
from weft.errors import EnvironmentProblem, PortTaken, WeftError
from weft.pb.mesh.v1 import mesh_pb2
from weft.tap_query import parse_tap

from .channel import DESCRIPTORS_MAX, LOST_BYTES, Channel, Kind, Message
from .errors import WorkerLost
from .gains import Gained
from .identity import Svid, TlsContexts
from .outlets import refuse_more
from .policy.renewal import backoff_s
from .snapshot import Snapshot
from .sockets import Sockets
from .successor import ended
from .telemetry import Telemetry
from .traffic import Address

ANSWER_S = 5.0  # a worker that does not answer is busy, and left out
END_S = 1.0  # for the process, once its channel is closed
KILL_S = 5.0  # beyond the time for a drain
STEADY_S = 60.0  # a worker that lived so long did not die of its start
# structlog imports rich for tracebacks that we never print: 5 MB in every worker.
PROGRAM = "import sys; sys.modules['rich'] = None; from sidecar.worker import main; main()"
CHUNKS_MAX = 64  # of a tap, waiting for its reader

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Worker:
    """One place in the pool and the process in it."""

    number: int
    gained: Gained
    channel: Channel | None = None  # while a process is there
    process: "subprocess.Popen[bytes] | None" = None
    told: Svid | None = None  # the last certificate
    applied: "asyncio.Future[None] | None" = None  # the first configuration
    serves: bool = False
    trouble: str = ""
    failures: int = 0
    asked: "dict[int, asyncio.Future[bytes]]" = field(default_factory=dict)


class WorkerPool:
    """`count` workers, as a `serving.Switch`. `sockets` are handed to them; `telemetry` is added to."""

    def __init__(
        self,
        count: int,
        log_style: tuple[str, str],
        snapshot: Snapshot,
        tls: TlsContexts,
        telemetry: Telemetry,
        sockets: Sockets,
    ) -> None:
        self._log_style = log_style
        self._snapshot = snapshot
        self._tls = tls
        self._telemetry = telemetry
        self._sockets = sockets
        self._tasks = Tasks()
        self._workers = [_Worker(number, Gained(telemetry)) for number in range(count)]
        self._users: dict[str, set[_Worker]] = {}  # who listens, by address
        self._taps: dict[int, MergedFeed] = {}
        self._about = 0
        self._draining = False

    # --- as a switch ---

    async def start(self) -> None:
        """Until every worker serves. Raises PortTaken, EnvironmentProblem and what else one of them meets."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.applied = loop.create_future()
            self._tasks.spawn(self._keep(worker), f"worker {worker.number}")
        try:
            await asyncio.gather(*(worker.applied for worker in self._workers if worker.applied))
        except BaseException:
            await self.drain(0.0)
            raise

    def swap(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        content = self._config()
        for worker in self._workers:
            self._later(worker, Kind.CONFIG, content)

    def rotate(self, tls: TlsContexts) -> None:
        """Other trust alone comes with the configuration, of which workers make contexts of their own."""
        self._tls = tls
        for worker in self._workers:
            if worker.told is not tls.svid:
                self._tell_svid(worker)

    async def drain(self, grace_s: float) -> None:
        self._draining = True
        content = json.dumps({"seconds": grace_s}).encode()
        for worker in self._workers:
            self._later(worker, Kind.DRAIN, content)
        try:
            async with asyncio.timeout(grace_s + KILL_S):
                await asyncio.gather(*(ended(it.pid) for it in self._processes()))
        except TimeoutError:
            log.error("workers did not end in time")
        await self._tasks.close()  # from here on no place gets another process
        for worker in self._workers:
            if worker.channel is not None:
                worker.channel.close()
        for process in self._processes():
            process.kill()
            process.wait()
        for name in list(self._users):
            self._release(name)

    def _processes(self) -> "list[subprocess.Popen[bytes]]":
        """Those that run."""
        found = [worker.process for worker in self._workers if worker.process is not None]
        return [process for process in found if process.poll() is None]

    def trouble(self) -> str:
        serving = [worker for worker in self._workers if worker.serves]
        if not serving:
            return "no worker serves"
        return next((worker.trouble for worker in serving if worker.trouble), "")

    async def status(self) -> dict[str, Any]:
        """Of each worker that answers."""
        answers = await self._ask_all(Kind.STATUS)
        return {
            "workers": [
                {
                    "worker": worker.number,
                    "pid": worker.process.pid if worker.process else 0,
                    **json.loads(said),
                }
                for worker, said in answers
            ]
        }

    async def refresh(self) -> None:
        """What workers have counted up to now is in `telemetry` afterwards."""
        await self._ask_all(Kind.COUNTERS)

    def reopen(self) -> None:
        """Access logs, after they have been moved."""
        for worker in self._workers:
            self._later(worker, Kind.REOPEN)

    @contextmanager
    def tapped(self, query: str) -> Iterator["MergedFeed"]:
        """Live requests of all workers, also of those that come later. Raises InvalidTapQuery, TapsFull."""
        asked = parse_tap(query)
        refuse_more(len(self._taps))
        self._about += 1
        about, rate = self._about, asked.rate / len(self._workers)
        content = json.dumps({"query": query, "rate": rate}).encode()
        feed = self._taps[about] = MergedFeed(asked.seconds, content)
        for worker in self._workers:
            self._later(worker, Kind.TAP, content, about)
        try:
            yield feed
        finally:
            del self._taps[about]
            for worker in self._workers:
                self._later(worker, Kind.UNTAP, b"", about)

    # --- one worker ---

    async def _keep(self, worker: _Worker) -> None:
        """A process in this place, for ever."""
        loop = asyncio.get_running_loop()
        while not self._draining:
            begun = loop.time()
            try:
                await self._start(worker)
                await self._attend(worker)
            except Exception as error:  # whatever it says or does, its place is not left empty
                await self._lost(worker, error)
            if self._draining:
                return
            worker.failures = 1 if loop.time() - begun > STEADY_S else worker.failures + 1
            self._telemetry.worker_restarts += 1
            await asyncio.sleep(backoff_s(worker.failures, 0.5))

    async def _start(self, worker: _Worker) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            words = [theirs.fileno(), worker.number, len(self._workers), *self._log_style]
            command = [sys.executable, "-c", PROGRAM, *map(str, words)]
            process = worker.process = await _started(command, theirs.fileno())
        if self._draining:
            ours.close()
            raise WorkerLost("it was started while all of them end")
        worker.channel = Channel(ours)
        worker.told = None
        self._telemetry.workers[worker.number] = process.pid
        self._tell_svid(worker)
        self._later(worker, Kind.CONFIG, self._config())
        for about, feed in self._taps.items():
            self._later(worker, Kind.TAP, feed.asked, about)

    async def _attend(self, worker: _Worker) -> None:
        """Takes what it says. Raises WorkerLost."""
        assert worker.channel is not None
        while True:
            self._take(worker, await worker.channel.receive())

    async def _lost(self, worker: _Worker, error: Exception) -> None:
        worker.serves = False
        code = await _over(worker.process) if worker.process is not None else None
        if not self._draining:
            about: dict[str, Any] = {"worker": worker.number, "exit_code": code, "error": str(error)}
            if not isinstance(error, (OSError, WorkerLost)):
                about["exc_info"] = error
            log.error("a worker ended; another is started", **about)
        self._telemetry.workers.pop(worker.number, None)
        if worker.channel is not None:
            worker.channel.close()
        worker.channel, worker.trouble = None, ""
        worker.gained.forget()
        for answer in worker.asked.values():
            answer.cancel()
        worker.asked.clear()
        for users in self._users.values():
            users.discard(worker)

    def _take(self, worker: _Worker, message: Message) -> None:
        match message.kind:
            case Kind.BIND:
                self._bind(worker, message)
            case Kind.RELEASE:
                name = str(Address(**json.loads(message.content)))
                self._users.get(name, set()).discard(worker)
                if not self._users.get(name):
                    self._release(name)
            case Kind.APPLIED:
                self._applied(worker, message.content)
            case Kind.GAINED:
                worker.gained.add(json.loads(message.content))
                self._answered(worker, message)
            case Kind.ANSWER:
                self._answered(worker, message)
            case Kind.TROUBLE:
                worker.trouble = message.content.decode()
            case Kind.LINES:
                if (feed := self._taps.get(message.about)) is not None:
                    feed.put(message.content)
            case Kind.DRAINED:
                pass  # its end follows
            case _:
                raise WorkerLost(f"it sends {message.kind.name}")

    def _applied(self, worker: _Worker, content: bytes) -> None:
        first = worker.applied if worker.applied is not None and not worker.applied.done() else None
        if not content:
            worker.serves = True
            if first is not None:
                first.set_result(None)
            return
        said = json.loads(content)
        log.error("a worker cannot serve the configuration", worker=worker.number, error=said["why"])
        if first is not None:
            kind = PortTaken if said["taken"] else EnvironmentProblem
            first.set_exception(kind(said["why"]))

    # --- sockets ---

    def _bind(self, worker: _Worker, message: Message) -> None:
        address = Address(**json.loads(message.content))
        try:
            held = self._sockets.hold(address)
        except WeftError as error:
            said = json.dumps({"why": str(error), "taken": isinstance(error, PortTaken)})
            self._later(worker, Kind.BOUND, said.encode(), message.about)
            return
        self._users.setdefault(str(address), set()).add(worker)
        own = held[worker.number :: len(self._workers)] or [held[worker.number % len(held)]]
        self._later(worker, Kind.BOUND, b"", message.about, own[:DESCRIPTORS_MAX])

    def _release(self, name: str) -> None:
        self._users.pop(name, None)
        self._sockets.release_named(name)

    # --- messages ---

    def _config(self) -> bytes:
        snapshot = self._snapshot
        delta = mesh_pb2.Delta(index=snapshot.index, upserts=snapshot.source.values())
        return delta.SerializeToString()

    def _tell_svid(self, worker: _Worker) -> None:
        worker.told = svid = self._tls.svid
        self._later(worker, Kind.SVID, svid.chain_pem + svid.key_pem)

    def _later(
        self,
        worker: _Worker,
        kind: Kind,
        content: bytes = b"",
        about: int = 0,
        sockets: "list[socket.socket] | None" = None,
    ) -> None:
        """In the order of the calls: the channel's lock is fair, and tasks begin in turn."""
        if worker.channel is not None:
            work = self._send(worker.channel, kind, content, about, sockets or [])
            self._tasks.spawn(work, f"tell worker {worker.number} {kind.name}")

    async def _send(
        self, channel: Channel, kind: Kind, content: bytes, about: int, sockets: "list[socket.socket]"
    ) -> None:
        with contextlib.suppress(WorkerLost):  # whoever attends to it knows
            await channel.send(kind, content, about, sockets)

    async def _ask_all(self, kind: Kind) -> list[tuple[_Worker, bytes]]:
        asked = [(worker, self._ask(worker, kind)) for worker in self._workers if worker.serves]
        if not asked:
            return []
        await asyncio.wait([answer for _, answer in asked], timeout=ANSWER_S)
        for _, answer in asked:
            answer.cancel()
        return [(worker, it.result()) for worker, it in asked if it.done() and not it.cancelled()]

    def _ask(self, worker: _Worker, kind: Kind) -> "asyncio.Future[bytes]":
        self._about += 1
        answer = worker.asked[self._about] = asyncio.get_running_loop().create_future()
        self._later(worker, kind, b"", self._about)
        return answer

    def _answered(self, worker: _Worker, message: Message) -> None:
        answer = worker.asked.pop(message.about, None)
        if answer is not None and not answer.done():
            answer.set_result(message.content)


class MergedFeed:
    """What one reader of `/tap` gets, of all workers."""

    content_type = "application/x-ndjson"

    def __init__(self, seconds: float, asked: bytes) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(CHUNKS_MAX)
        self._lost = 0
        self.seconds = seconds
        self.asked = asked  # of each worker

    def put(self, content: bytes) -> None:
        """As a worker says it."""
        lines = content[LOST_BYTES:]
        self._lost += int.from_bytes(content[:LOST_BYTES], "big")
        if self._queue.full():
            self._lost += lines.count(b"\n")
        else:
            self._queue.put_nowait(lines)

    def lost(self) -> int:
        """Requests that were asked for and not told, since this was asked last."""
        lost, self._lost = self._lost, 0
        return lost

    async def next(self, wait_s: float) -> bytes:
        """Lines that wait; b"" where none came in `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._queue.get()
        except TimeoutError:
            return b""


async def _started(command: list[str], descriptor: int) -> "subprocess.Popen[bytes]":
    """In a thread, which cannot be cancelled: what it starts then is ended."""

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL)

    starting = asyncio.get_running_loop().run_in_executor(None, start)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        process = await starting
        process.kill()
        process.wait()
        raise


async def _over(process: "subprocess.Popen[bytes]") -> int | None:
    """The exit code of a worker that is no longer heard, and soon is no more."""
    if process.poll() is None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await ended(process.pid)
    if process.poll() is None:
        process.kill()
        await ended(process.pid)
    return process.poll()
