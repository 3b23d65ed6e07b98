"""Sans-IO. Which instances of a target take requests, and with what weight.

An instance is usable where the registry says healthy, our own checks do not say sick, and it is not ejected.
Of the usable ones the nearest take requests: those of our zone, or else of our region, or else all. Where too
few are usable, and nobody else can help, all of them do: one overloaded rest would fail as well ("panic").
"""

from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

from ..traffic import NOWHERE, EjectionPolicy, Locality, Target
from .outlier import Detector, Ejection, Rate

# A weight in slow start, in hundredths of the configured one; it begins at a tenth, as Envoy's does.
WHOLE = 100
LEAST_WARM = 0.1


class Present(Protocol):
    """An instance in a pool. `joined_at` is infinite for those that were there from the beginning."""

    key: str
    share: int
    weight: int
    healthy: bool
    sick: bool
    joined_at: float
    failures: int
    locality: Locality

    @property
    def opened(self) -> int: ...


P = TypeVar("P", bound=Present)


class Presence:
    """State of one pool. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.begun = False  # whether it was configured before
        self.warming = False  # whether weights still rise
        self._policy: Target | None = None
        self._here = NOWHERE
        self._detector: Detector | None = None
        self._looked_at = 0.0
        self._seen: dict[str, tuple[int, int]] = {}  # requests and failures at the last look

    def obey(self, policy: Target | None, here: Locality, keys: Collection[str]) -> None:
        """A new configuration, and who is there now."""
        self.begun = True
        self._here = here
        if policy is not None:
            self._policy = policy
            may_empty = bool(policy.failover)
            if self._detector is None:
                self._detector = Detector(policy.ejection, len(keys), may_empty)
            else:
                self._detector.reconfigure(policy.ejection, may_empty)
        if self._detector is not None:
            self._detector.keep(keys)

    # --- who takes requests ---------------------------------------------------------------------------

    def live(self, everyone: Iterable[P], others_help: bool, now: float) -> list[P]:
        """In the order given. Sets the weights. `others_help`: fail-over targets have live instances."""
        all_of_them = list(everyone)
        policy, out = self._policy, self._detector
        usable = [
            it for it in all_of_them if it.healthy and not it.sick and not (out and out.ejected(it.key))
        ]
        self._weigh(all_of_them, now)
        if policy is None:
            return usable
        few = len(usable) * 100 < policy.panic_percent * len(all_of_them)
        if few and not (others_help and not usable):
            return all_of_them
        return self._nearest(usable) if policy.by_locality else usable

    def _nearest(self, usable: list[P]) -> list[P]:
        here = self._here
        if here == NOWHERE:
            return usable
        zone = [it for it in usable if it.locality == here]
        return zone or [it for it in usable if it.locality.region == here.region] or usable

    def _weigh(self, everyone: list[P], now: float) -> None:
        span = self._policy.slow_start_s if self._policy is not None else 0.0
        self.warming = bool(span) and any(0 <= now - it.joined_at < span for it in everyone)
        if not self.warming:
            for it in everyone:
                it.weight = it.share
            return
        for it in everyone:
            age = now - it.joined_at
            grown = max(LEAST_WARM, age / span) if 0 <= age < span else 1.0
            it.weight = max(1, int(it.share * WHOLE * grown))

    # --- ejection -------------------------------------------------------------------------------------

    def failed(self, key: str, http_status: int, now: float) -> bool:
        """Whether this failure ejects the instance. `http_status` is 0 where it did not answer."""
        return self._detector is not None and self._detector.failure(key, now, http_status) is not None

    def succeeded(self, key: str) -> None:
        if self._detector is not None:
            self._detector.success(key)

    def look(self, everyone: Iterable[Present], now: float) -> int:
        """Judges the rates of the interval that has passed, if one has. How many this ejects."""
        policy = self._ejection()
        if self._detector is None or not policy.interval_s or now - self._looked_at < policy.interval_s:
            return 0
        self._looked_at = now
        before, self._seen = self._seen, {}
        rates = []
        for it in everyone:
            requests, failures = self._seen[it.key] = it.opened, it.failures
            old_requests, old_failures = before.get(it.key, (0, 0))
            rates.append(Rate(it.key, requests - old_requests, failures - old_failures))
        return len(self._detector.judge(rates, now))

    def _ejection(self) -> EjectionPolicy:
        return self._policy.ejection if self._policy is not None else EjectionPolicy()

    def returned(self, now: float) -> bool:
        return self._detector is not None and bool(self._detector.returned(now))

    def out(self) -> tuple[Ejection, ...]:
        return self._detector.out() if self._detector is not None else ()

    def ejected_count(self) -> int:
        return len(self.out())
