"""What counting, tracing and choosing cost: `python -m bench.telemetry` prints microseconds per request.

Only what is done in line: each head differs once it has a context, which costs the next hop more (W1).
"""

import random
import time
import timeit
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

from sidecar.h2.block import Block, Extra, Head
from sidecar.h2.primitives import encode_raw
from sidecar.policy.balance import RoundRobin, least_request
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.tracing import Tracer
from sidecar.telemetry import OUTCOME, Direction, Telemetry
from weft.histogram import BOUNDS_S

REQUESTS = 200_000
REPEATS = 5
LITERAL = b"\0%b%b"  # a field without indexing (RFC 7541 section 6.2.2)
CONTEXT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@dataclass
class Endpoint:
    active: int = 0
    weight: int = 1


def counting_us() -> float:
    """Counting one request from its begin to its end, in line as the switch does."""
    series = Telemetry().series(Direction.INBOUND, "web", "orders")

    def count() -> None:
        series.requests += 1
        series.active += 1
        series.active -= 1
        series.ended[OUTCOME[200] + 0] += 1
        series.buckets[bisect_left(BOUNDS_S, 0.0031)] += 1
        series.sum_s += 0.0031

    return _best_us(count)


def tracing_us(wire: bytes) -> float:
    """Joining one unsampled request with the fields `wire` to its trace; making its context included."""
    block = Block(cast(Head, SimpleNamespace()), Extra(wire))
    exchange = cast(Exchange, SimpleNamespace(block=block, span=None))
    join = Tracer(0, random.Random(1)).join

    def one() -> None:
        exchange.block = block
        join(exchange)

    return _best_us(one)


def least_request_us() -> float:
    """Choosing one of three instances."""
    endpoints, draw = [Endpoint(), Endpoint(), Endpoint()], random.Random(1).random
    return _best_us(lambda: least_request(endpoints, draw))


def round_robin_us() -> float:
    """Choosing one of three instances."""
    endpoints, turns = [Endpoint(), Endpoint(), Endpoint()], RoundRobin()
    return _best_us(lambda: turns.pick(endpoints))


def _best_us(work: Callable[[], object]) -> float:
    """CPU time, so that other processes on the machine do not count."""
    runs = timeit.repeat(work, timer=time.process_time, number=REQUESTS, repeat=REPEATS)
    return min(runs) / REQUESTS * 1e6


if __name__ == "__main__":
    counted = counting_us()
    joined = tracing_us(LITERAL % (encode_raw(b"traceparent"), encode_raw(CONTEXT)))
    begun = tracing_us(LITERAL % (encode_raw(b"grpc-timeout"), encode_raw(b"1S")))
    print(f"counting:      {counted:.3f} us per request")
    print(
        f"a context that came, unsampled:  {joined:.3f} us per request, {counted + joined:.3f} with counting"
    )
    print(f"a context begun, unsampled:      {begun:.3f} us per request, {counted + begun:.3f} with counting")
    print(f"least request: {least_request_us():.3f} us per choice")
    print(f"round robin:   {round_robin_us():.3f} us per choice")
