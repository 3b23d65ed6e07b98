"""What counting and choosing cost: `python -m bench.telemetry` prints microseconds per request."""

import random
import time
import timeit
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.policy.balance import RoundRobin, least_request
from sidecar.telemetry import BOUNDS_S, OUTCOME, Direction, Telemetry

REQUESTS = 200_000
REPEATS = 5


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
    print(f"counting:      {counting_us():.3f} us per request")
    print(f"least request: {least_request_us():.3f} us per choice")
    print(f"round robin:   {round_robin_us():.3f} us per choice")
