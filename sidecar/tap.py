"""A tap: somebody looks at requests as they end, for a while."""

import asyncio
from dataclasses import dataclass, field

from weft.clock import Clock
from weft.tap_query import TapFilter

from .calls import EndedCall, path_of
from .telemetry import Call, Count

QUEUE_MAX = 1000  # told and not yet read: half a MiB


@dataclass(eq=False)
class Tap:
    """One listener, told of `rate` requests a second at most. What comes too fast is dropped and counted."""

    filter: TapFilter
    rate: float
    clock: Clock
    sent: Count
    dropped: Count
    queue: "asyncio.Queue[EndedCall]" = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    lost: int = 0  # dropped since somebody looked

    def __post_init__(self) -> None:
        self._tokens = self._burst = max(1.0, self.rate)
        self._filled_at = self.clock.monotonic()

    def wants(self, call: Call, method: bytes, target: bytes, outcome: tuple[int, int, bool]) -> bool:
        """Of a request with this method and path. `outcome`: HTTP status, gRPC status (-1: none), whether it
        failed."""
        return (
            self._wants_outcome(*outcome) and self._wants_call(call) and self._wants_request(method, target)
        )

    def _wants_outcome(self, http_status: int, grpc_status: int, failed: bool) -> bool:
        wanted = self.filter
        if wanted.failed and not failed:
            return False
        if not wanted.grpc_statuses and not wanted.http_statuses:
            return True
        return grpc_status in wanted.grpc_statuses or http_status in wanted.http_statuses

    def _wants_call(self, call: Call) -> bool:
        wanted = self.filter
        return (
            wanted.source in ("", call.source)
            and wanted.destination in ("", call.destination)
            and wanted.direction in ("", call.direction.value)
        )

    def _wants_request(self, method: bytes, target: bytes) -> bool:
        wanted = self.filter
        if not wanted.path_prefix and not wanted.method:
            return True
        path = path_of(target)
        if not path.startswith(wanted.path_prefix):
            return False
        return (
            not wanted.method
            or wanted.method.upper() == method.decode("latin-1").upper()
            or (method == b"POST" and path.rpartition("/")[2] == wanted.method)
        )

    def takes_one(self) -> bool:
        """Of a request that it wants: whether its rate lets it be told."""
        now = self.clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1.0:
            self._drop()
            return False
        self._tokens -= 1.0
        return True

    def offer(self, ended: EndedCall) -> None:
        try:
            self.queue.put_nowait(ended)
        except asyncio.QueueFull:
            self._drop()
        else:
            self.sent.value += 1

    def _drop(self) -> None:
        self.dropped.value += 1
        self.lost += 1

    def waiting(self, most: int = QUEUE_MAX) -> list[EndedCall]:
        """What can be read now, and out of the queue it is."""
        return [self.queue.get_nowait() for _ in range(min(most, self.queue.qsize()))]
