"""Interleaved rounds: each side in turn runs the workload, and the operating system says what it cost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import load, procfs
from .bystanders import Bystanders
from .errors import LoadFailed
from .pair import Pair
from .processes import Child
from .workloads import Load, Workload

_REQUESTS_MIN, _REQUESTS_MAX = 200, 500_000
_WARM_REQUESTS_PER_CALL = 20  # per call in flight: enough to open connections and fill memos
_WARM_S = 0.5
_FIRST_ANSWER_TIMEOUT_S = 30.0
_QUIET = 0.05  # what others may take of the machine without being mentioned


@dataclass(frozen=True, slots=True)
class Hop:
    """One proxy of the chain."""

    cpu_us_per_request: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one workload through one side. A side without proxies has no hops."""

    load: Load
    hops: tuple[Hop, ...]
    others: float = 0.0  # share (0..1) of the machine that went to processes of no concern

    @property
    def cpu_us_per_request(self) -> float:
        return sum(hop.cpu_us_per_request for hop in self.hops)

    @property
    def rss_mb(self) -> float:
        return sum(hop.rss_mb for hop in self.hops)

    def __str__(self) -> str:
        busy = f" (others: {self.others:.0%} of the machine)" if self.others > _QUIET else ""
        return (
            f"{self.cpu_us_per_request:6.1f} µs CPU/request, p50 {self.load.p50_ms:.2f} ms, "
            f"{self.load.rps:,.0f} requests/s{busy}"
        )


@dataclass(frozen=True, slots=True)
class Side:
    """A way from the callers to the backend."""

    name: str
    port: int
    proxies: tuple[Child, ...]

    @classmethod
    def of(cls, name: str, pair: Pair) -> "Side":
        return cls(name, pair.port, (pair.first, pair.second))


class Bench:
    """Runs workloads. Every request is accounted for: the backend must have seen each one."""

    def __init__(self, backend: Child, directory: Path, seconds: float) -> None:
        self._backend = backend
        self._directory = directory
        self._seconds = seconds

    def wait_for_answer(self, side: Side, *, http1: bool = False) -> None:
        """Returns once a call through `side` succeeded. Raises NotReady."""
        one = Workload("one call", connections=1, streams=1, http1=http1)

        def answers() -> bool:
            try:
                load.check(one, side.port, 1, self._directory, timeout_s=_FIRST_ANSWER_TIMEOUT_S)
            except LoadFailed:
                return False
            return True

        self._watched(side).wait_until(answers, "a call through it succeeded", _FIRST_ANSWER_TIMEOUT_S)

    def rounds(
        self, workload: Workload, sides: Mapping[str, Side], count: int, progress: Callable[[str], None]
    ) -> dict[str, list[Sample]]:
        """`count` samples per side; the order of the sides turns with every round."""
        requests = {name: self._calibrated(workload, side) for name, side in sides.items()}
        samples: dict[str, list[Sample]] = {name: [] for name in sides}
        for number in range(count):
            names = list(sides)
            for name in names if number % 2 == 0 else reversed(names):
                sample = self._sample(workload, sides[name], requests[name])
                samples[name].append(sample)
                progress(f"{workload.name} round {number + 1}/{count} {name:>6}: {sample}")
        return samples

    def _calibrated(self, workload: Workload, side: Side) -> int:
        """Warms the side up and answers how many requests keep it busy for the wanted time."""
        in_flight = workload.connections * workload.streams
        self._preflight(workload, side, in_flight)
        warm = self._run(workload, side, in_flight * _WARM_REQUESTS_PER_CALL)
        warm = self._run(workload, side, self._bounded(warm.rps * _WARM_S))
        return self._bounded(warm.rps * self._seconds)

    @staticmethod
    def _bounded(requests: float) -> int:
        return int(min(max(requests, _REQUESTS_MIN), _REQUESTS_MAX))

    def _preflight(self, workload: Workload, side: Side, requests: int) -> None:
        with self._all_reach_the_backend(side, requests):
            load.check(workload, side.port, requests, self._directory)

    def _run(self, workload: Workload, side: Side, requests: int) -> Load:
        with self._all_reach_the_backend(side, requests):
            return load.run(workload, side.port, requests, self._directory)

    @contextmanager
    def _all_reach_the_backend(self, side: Side, requests: int) -> Iterator[None]:
        before = self._backend.ask()["requests"]
        yield
        seen = self._backend.ask()["requests"] - before
        if seen != requests:
            raise LoadFailed(f"{side.name}: {requests} requests were answered, but the backend saw {seen}")

    def _sample(self, workload: Workload, side: Side, requests: int) -> Sample:
        bystanders = Bystanders([self._backend.pid, *(proxy.pid for proxy in side.proxies)])
        before = [procfs.cpu_s(proxy.pid) for proxy in side.proxies]
        seen = self._run(workload, side, requests)
        after = [procfs.cpu_s(proxy.pid) for proxy in side.proxies]
        others = bystanders.share()
        hops = tuple(
            Hop((now - then) / requests * 1e6, procfs.rss_mb(proxy.pid))
            for proxy, then, now in zip(side.proxies, before, after, strict=True)
        )
        return Sample(seen, hops, others)

    def _watched(self, side: Side) -> Child:
        return side.proxies[0] if side.proxies else self._backend
