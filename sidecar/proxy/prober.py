"""Active health checks of the instances of a target: grpc.health.v1, HTTP, TCP.

They go over the connections that requests use, so what they say of an instance holds for requests. All of
it is off the hot path: one task per target, and an exchange of the switch for each question.
"""

import asyncio
from dataclasses import dataclass, field

from weft.aio import Tasks

from ..h2.block import NO_EXTRA, Block, Field, Head, Kind
from ..h2.outbox import Outbox
from ..telemetry import Call, Direction, Series
from ..traffic import HealthCheck, ProbeKind
from .endpoint import Endpoint
from .exchange import Exchange, Plan
from .pool import Pool
from .sink import Sink

SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}
_GRPC_PATH = b"/grpc.health.v1.Health/Check"
_MESSAGE_HEAD_BYTES = 5  # compressed flag and length, before each gRPC message
NEVER_AGAIN = 1 << 30  # attempts made, so that none follows
AT_ONCE_MAX = 64  # questions under way, of one target


@dataclass(slots=True)
class Record:
    """Answers of one kind in a row."""

    fine: int = 0
    bad: int = 0

    def judge(self, check: HealthCheck, fine: bool) -> bool | None:
        """Whether it is sick, now that it has answered so; None: that says nothing new."""
        self.fine, self.bad = (self.fine + 1, 0) if fine else (0, self.bad + 1)
        if self.bad >= check.unhealthy_threshold:
            return True
        return False if self.fine >= check.healthy_threshold else None


@dataclass(slots=True)
class _Asked:
    """What is known of one instance, and when it is asked next."""

    next_at: float
    record: Record = field(default_factory=Record)


class Asker:
    """Asks by requests of the switch, and waits for what is answered."""

    def __init__(self, authority: str, check: HealthCheck, outbox: Outbox) -> None:
        self.sink = Sink(outbox, self._ended)
        self._check = check
        self._outbox = outbox
        self._waiting: dict[Exchange, asyncio.Future[bool]] = {}
        self._series = Series(Call(Direction.OUTBOUND, "", authority))  # on no page
        grpc = check.kind is ProbeKind.GRPC
        self._fields = _grpc_fields(authority) if grpc else _get_fields(authority, check.what)
        self._body = [_grpc_message(check.what)] if grpc else []

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, pool: Pool, endpoint: Endpoint) -> "asyncio.Future[bool]":
        """Whether it answers that it is well, in time."""
        plan = Plan(self._fields, pool, self._series, self._check.kind is ProbeKind.GRPC, head_only=False)
        block = Block(Head(Kind.REQUEST, self._fields), NO_EXTRA)
        now = self._outbox.clock()
        exchange = self.sink.exchange(plan, block, self._body, now)
        exchange.attempts = NEVER_AGAIN
        exchange.due = now + self._check.timeout_s
        if exchange.due < self._outbox.due:
            self._outbox.arm(exchange.due)
        answer = self._waiting[exchange] = asyncio.get_running_loop().create_future()
        pool.enqueue(exchange, endpoint)
        self._outbox.flush()
        return answer

    def _ended(self, exchange: Exchange, body: bytes) -> None:
        answer = self._waiting.pop(exchange)
        if answer.done():
            return
        if self._check.kind is ProbeKind.GRPC:
            serving = body[_MESSAGE_HEAD_BYTES:].startswith(SERVING)
            answer.set_result(exchange.answered and exchange.grpc_status == 0 and serving)
        else:
            answer.set_result(exchange.answered and 200 <= exchange.http_status < 400)


class Prober:
    """Asks for one pool, until `close`."""

    def __init__(self, pool: Pool, check: HealthCheck, outbox: Outbox, tasks: Tasks) -> None:
        self.pool = pool
        self.check = check
        self._asker = Asker(pool.name, check, outbox)
        self.sink = self._asker.sink
        self._outbox = outbox
        self._tasks = tasks
        self._asked: dict[Endpoint, _Asked] = {}
        self._task = tasks.spawn(self._run(), f"health checks of {pool.name}")

    def close(self) -> None:
        """Nobody is sick any more by what was heard."""
        self._task.cancel()
        self.sink.end_all()
        for endpoint in self._asked:
            self.pool.probed(endpoint, sick=False)

    async def _run(self) -> None:
        while True:
            now = self._outbox.clock()
            due = [endpoint for endpoint, asked in self._known(now) if asked.next_at <= now]
            for endpoint in due[: AT_ONCE_MAX - len(self._asker)]:
                self._asked[endpoint].next_at = now + self.check.interval_s
                self._tasks.spawn(self._ask(endpoint), f"health check of {endpoint.key}")
            next_at = min((asked.next_at for asked in self._asked.values()), default=now + 1.0)
            await asyncio.sleep(min(max(next_at - now, 0.01), 1.0))  # new instances are seen within a second

    def _known(self, now: float) -> list[tuple[Endpoint, _Asked]]:
        there = self.pool.endpoints.values()
        for endpoint in self._asked.keys() - set(there):
            del self._asked[endpoint]
        for endpoint in there:
            if endpoint not in self._asked:  # spread out, as many instances come together
                self._asked[endpoint] = _Asked(now + self.pool.draw() * min(1.0, self.check.interval_s))
        return list(self._asked.items())

    async def _ask(self, endpoint: Endpoint) -> None:
        if self.check.kind is ProbeKind.TCP:
            fine = await self.pool.reach(endpoint, self.check.timeout_s)
        else:
            fine = await self._asker.ask(self.pool, endpoint)
        asked = self._asked.get(endpoint)
        if asked is not None and (sick := asked.record.judge(self.check, fine)) is not None:
            self.pool.probed(endpoint, sick)


def _grpc_fields(authority: str) -> tuple[Field, ...]:
    return (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", _GRPC_PATH),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"weft-health-check"),
    )


def _get_fields(authority: str, path: str) -> tuple[Field, ...]:
    return (
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"user-agent", b"weft-health-check"),
    )


def _grpc_message(service: str) -> bytes:
    """grpc.health.v1.HealthCheckRequest{service}; names are below 128 octets."""
    name = service.encode()
    message = b"\x0a" + bytes((len(name),)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message
