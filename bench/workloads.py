"""The workloads: how many callers, and what their requests look like."""

from dataclasses import dataclass

MESSAGE_BYTES = 100  # of each unary request and response, before gRPC's five bytes of framing
MIB = 1024 * 1024
METHOD_PATH = "/weft.bench.v1.Echo/Unary"
HTTP1_PATH = "/orders"


def path(http1: bool) -> str:
    """Of every request; the only one that the callee's proxy lets through, and only by POST."""
    return HTTP1_PATH if http1 else METHOD_PATH


@dataclass(frozen=True, slots=True)
class Workload:
    """`connections` callers with `streams` unary gRPC calls each in flight at all times.

    With `http1` they are POSTs over HTTP/1.1, kept alive, and so is what the backend speaks.
    """

    name: str
    connections: int
    streams: int
    varying: bool = False  # every request has its own traceparent and grpc-timeout
    message_bytes: int = MESSAGE_BYTES  # of a request; the answer always has MESSAGE_BYTES
    http1: bool = False

    @property
    def shape(self) -> str:
        size = f" {self.message_bytes // MIB} MiB" if self.message_bytes >= MIB else ""
        kind = " HTTP/1.1" if self.http1 else " varying" if self.varying else ""
        return f"{self.connections}×{self.streams}{kind}{size}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", connections=10, streams=10),
        Workload("W2", connections=1, streams=1),
        Workload("W3", connections=10, streams=10, varying=True),
        Workload("W4", connections=4, streams=4, message_bytes=MIB),
        Workload("W6", connections=50, streams=1),
        Workload("W7", connections=50, streams=1, http1=True),
    )
}


@dataclass(frozen=True, slots=True)
class Load:
    """What the callers of one run saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rps(self) -> float:
        return self.requests / self.seconds


def percentile(ascending: list[float], share: float) -> float:
    """The value below which `share` (0..1) of `ascending` lies (nearest rank). Raises ValueError if empty."""
    if not ascending:
        raise ValueError("no values")
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]
