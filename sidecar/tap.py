"""A tap: somebody looks at requests as they end, for a while."""

import asyncio
from dataclasses import dataclass, field

from weft.clock import Clock

from .calls import EndedCall, path_of
from .telemetry import Call, Count

RATE_MAX = 1000.0  # requests a second that one tap may be told of; building one costs some 20 us
QUEUE_MAX = 1000  # told and not yet read: half a MiB


@dataclass(frozen=True, slots=True)
class TapFilter:
    """What a tap wants to see. Everything that is set must hold; one of the statuses is enough."""

    grpc_statuses: frozenset[int] = frozenset()
    http_statuses: frozenset[int] = frozenset()
    method: str = ""  # of HTTP, or the last part of a gRPC path
    path_prefix: str = ""
    source: str = ""
    destination: str = ""
    direction: str = ""  # "inbound", "outbound"
    failed: bool = False  # only those that failed

    def wants_outcome(self, http_status: int, grpc_status: int, failed: bool) -> bool:
        if self.failed and not failed:
            return False
        if not self.grpc_statuses and not self.http_statuses:
            return True
        return grpc_status in self.grpc_statuses or http_status in self.http_statuses

    def wants_call(self, call: Call) -> bool:
        return (
            self.source in ("", call.source)
            and self.destination in ("", call.destination)
            and self.direction in ("", call.direction.value)
        )

    def wants_request(self, method: bytes, target: bytes) -> bool:
        if not self.path_prefix and not self.method:
            return True
        path = path_of(target)
        if not path.startswith(self.path_prefix):
            return False
        return (
            not self.method
            or self.method.upper() == method.decode("latin-1").upper()
            or (method == b"POST" and path.rpartition("/")[2] == self.method)
        )


@dataclass(eq=False)
class Tap:
    """One listener, told of `rate` requests a second at most. What comes too fast is dropped and counted."""

    filter: TapFilter
    rate: float
    clock: Clock
    sent: Count
    dropped: Count
    queue: "asyncio.Queue[EndedCall]" = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))

    def __post_init__(self) -> None:
        self._tokens = self._burst = max(1.0, self.rate)
        self._filled_at = self.clock.monotonic()

    def takes_one(self) -> bool:
        """Of a request that it wants: whether its rate lets it be told."""
        now = self.clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1.0:
            self.dropped.value += 1
            return False
        self._tokens -= 1.0
        return True

    def offer(self, ended: EndedCall) -> None:
        try:
            self.queue.put_nowait(ended)
        except asyncio.QueueFull:
            self.dropped.value += 1
        else:
            self.sent.value += 1
