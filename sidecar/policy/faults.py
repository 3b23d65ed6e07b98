"""Sans-IO. Faults on purpose: what an experiment does to one request, drawn anew for each."""

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import NamedTuple

from weft.pb.mesh.v1 import mesh_pb2

from ..admission import Abort, Delay, Distribution, Fault
from ..errors import InvalidResource
from .match import http_match
from .numbers import PPM_MAX, label, number, seconds

DELAY_MS_MAX = 60_000
RATE_MAX = 2**31 - 1
STATUSES = range(200, 600)
GRPC_STATUS_MAX = 16

PPM = 1_000_000
_STANDARD = NormalDist()
_LEAST_DRAW = 2.0**-53  # of a uniform draw: its logarithm and its quantile are finite

# gRPC's http-grpc-status-mapping, for answers that were not made by a gRPC server.
_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
# The other way round, as gateways of gRPC have it (google.rpc.Code).
_HTTP_OF_GRPC = {
    1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503,
    16: 401,
}  # fmt: skip
_UNKNOWN, _SERVER_ERROR = 2, 500


_DISTRIBUTIONS = dict(enumerate(Distribution))  # in the contract's order


def fault_of(said: mesh_pb2.Fault) -> Fault:
    """Raises InvalidResource."""
    where = f"proxy: fault {said.name[:80]!r}"
    if said.ends_unix_ms <= 0:
        raise InvalidResource(where, "does not say when it ends")
    if said.HasField("abort") and said.reset:
        raise InvalidResource(where, "can abort or reset, not both")
    return Fault(
        name=label(where, said.name),
        ppm=number(where, "ppm", said.ppm, 0, PPM_MAX),
        match=http_match(where, said.match) if said.HasField("match") else None,
        delay=_delay(where, said.delay) if said.HasField("delay") else None,
        abort=_abort(where, said.abort) if said.HasField("abort") else None,
        bytes_per_second=number(where, "bytes_per_second", said.bytes_per_second, 0, RATE_MAX),
        reset=said.reset,
        ends_s=said.ends_unix_ms / 1000,
    )


def _abort(where: str, said: mesh_pb2.Fault.Abort) -> Abort:
    if not 0 <= said.grpc_status <= GRPC_STATUS_MAX or not (said.http_status or said.grpc_status):
        raise InvalidResource(where, f"grpc_status {said.grpc_status} of an abort is none")
    if said.http_status and said.http_status not in STATUSES:
        raise InvalidResource(where, f"http_status {said.http_status} of an abort is not one of 200 to 599")
    return abort_of(said.http_status, said.grpc_status)


def _delay(where: str, said: mesh_pb2.Fault.Delay) -> Delay:
    if said.distribution not in _DISTRIBUTIONS:
        raise InvalidResource(where, "has an unknown distribution; upgrade the sidecar")

    def time_s(field: str, default_s: float = 0.0) -> float:
        return seconds(where, field, getattr(said, field), default_s, DELAY_MS_MAX)

    delay = Delay(
        _DISTRIBUTIONS[said.distribution],
        time_s("fixed_ms"),
        time_s("mean_ms"),
        time_s("deviation_ms"),
        time_s("least_ms"),
        time_s("most_ms", DELAY_MS_MAX / 1000),
    )
    if delay.least_s > delay.most_s:
        raise InvalidResource(where, "least_ms of a delay is above most_ms")
    return delay


class Injection(NamedTuple):
    """What is done to a request: held for `delay_s`, then reset or answered or slowed down."""

    names: tuple[str, ...]  # of the faults that had a part
    delay_s: float = 0.0
    abort: Abort | None = None
    reset: bool = False
    bytes_per_second: int = 0


NOTHING = Injection(())


def abort_of(http_status: int, grpc_status: int) -> Abort:
    """Fills in the one that was not said (0)."""
    return Abort(
        http_status or _HTTP_OF_GRPC.get(grpc_status, _SERVER_ERROR),
        grpc_status or _GRPC_OF_HTTP.get(http_status, _UNKNOWN),
    )


def draw_all(faults: Iterable[Fault], wall: float, draw: Callable[[], float]) -> Injection:
    """`faults` match the request. `wall` is Unix seconds; `draw` gives numbers in [0, 1).

    Delays add up, the lowest bandwidth holds, and of aborts and resets the first.
    """
    names: list[str] = []
    delay_s, rate = 0.0, 0
    abort: Abort | None = None
    reset = False
    for fault in faults:
        if wall >= fault.ends_s or draw() * PPM >= fault.ppm:
            continue
        names.append(fault.name)
        if fault.delay is not None:
            delay_s += length_of(fault.delay, draw())
        if abort is None and not reset:
            abort, reset = fault.abort, fault.reset
        if fault.bytes_per_second:
            rate = min(rate, fault.bytes_per_second) if rate else fault.bytes_per_second
    return Injection(tuple(names), delay_s, abort, reset, rate) if names else NOTHING


def length_of(delay: Delay, point: float) -> float:
    """Seconds; `point` in [0, 1) is the quantile."""
    point = min(max(point, _LEAST_DRAW), 1 - _LEAST_DRAW)
    if delay.distribution is Distribution.FIXED:
        drawn = delay.fixed_s
    elif delay.distribution is Distribution.UNIFORM:
        drawn = delay.least_s + (delay.most_s - delay.least_s) * point
    elif delay.distribution is Distribution.NORMAL:
        drawn = delay.mean_s + delay.deviation_s * _STANDARD.inv_cdf(point)
    else:
        drawn = -delay.mean_s * math.log1p(-point)
    return min(max(drawn, delay.least_s), delay.most_s)


class Pacer:
    """How many bytes of an answer may go: a bucket that is empty at first and holds a tenth of a second.

    Times are seconds of one monotonic clock.
    """

    __slots__ = ("_burst", "_per_second", "_seen", "_tokens")

    def __init__(self, bytes_per_second: int, now: float) -> None:
        self._per_second = bytes_per_second
        self._burst = max(1.0, bytes_per_second / 10)
        self._tokens = 0.0
        self._seen = now

    def take(self, wanted: int, now: float) -> int:
        """How many of the bytes `wanted` may go now; they are taken."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._seen) * self._per_second)
        self._seen = max(self._seen, now)
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken

    def lacks(self, wanted: int) -> float:
        """Seconds until as many may go, or as many as may go at once."""
        return max(0.0, min(float(wanted), self._burst) - self._tokens) / self._per_second
