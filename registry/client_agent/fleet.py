"""Sans-IO. Which server is asked first, and which ones next. Times are seconds on a monotonic clock.

One server serves until it fails: its connections are warm, and what it answered stays in order. The choice
is by chance at the start and again from time to time, so that agents spread over servers that come back.
"""

from collections.abc import Callable, Iterable

SHUNNED_S = 5.0  # a server that failed is asked last for this long
REBALANCED_S = 300.0  # Consul moves between 2 and 3 minutes; connections here cost a handshake
SERVERS_MAX = 64  # seven vote at most; the rest is room for those that come and go


class Fleet:
    """Addresses as `seeds` gave them, and those that servers tell of each other. `draw` is in [0, 1)."""

    def __init__(self, seeds: Iterable[str], draw: Callable[[], float], now: float) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._draw = draw
        self._order: list[str] = []
        self._failed_at: dict[str, float] = {}
        self._shuffle(list(self._seeds), now)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._order)

    def to_try(self, now: float) -> tuple[str, ...]:
        """Every server once, the best first."""
        if now - self._shuffled_at >= REBALANCED_S:
            self._shuffle(self._order, now)
        shunned = {it for it, at in self._failed_at.items() if now - at < SHUNNED_S}
        return tuple(sorted(self._order, key=lambda address: address in shunned))

    def failed(self, address: str, now: float) -> None:
        """It did not answer, or knows no leader."""
        self._failed_at[address] = now
        if address in self._order:
            self._order.remove(address)
            self._order.append(address)

    def answered(self, address: str) -> None:
        self._failed_at.pop(address, None)

    def learn(self, addresses: Iterable[str], now: float) -> None:
        """Those that are there now; seeds stay, for they are how to come back."""
        wanted = list(dict.fromkeys((*addresses, *self._seeds)))[:SERVERS_MAX]
        if set(wanted) == set(self._order):
            return
        kept = [it for it in self._order if it in wanted]
        new = [it for it in wanted if it not in kept]
        self._failed_at = {it: at for it, at in self._failed_at.items() if it in wanted}
        if kept:
            self._order = kept + new
        else:
            self._shuffle(new, now)

    def _shuffle(self, addresses: list[str], now: float) -> None:
        self._order = sorted(addresses, key=lambda _: self._draw())
        self._shuffled_at = now
