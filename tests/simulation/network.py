"""A network that delays, reorders, duplicates and drops, and cuts links in one direction or both.

Servers and clients are endpoints by name. Whoever has no handler when a message arrives (a server
that is down) never sees it.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .clock import MS, Scheduler
from .invariants import Violation

WINDOW_US = 100 * MS
MESSAGES_PER_WINDOW_MAX = 10_000
"""Messages that beget messages without end are a bug, though none of Raft's promises is broken: five
servers that replicate as fast as their windows allow stay far below."""

Handler = Callable[[str, Any], None]


@dataclass(slots=True)
class Weather:
    """How links behave; chances are per message."""

    delay_us_min: int = 200
    delay_us_mean: int = 1 * MS
    drop: float = 0.0
    duplicate: float = 0.0
    straggle: float = 0.0  # late by up to `straggle_us_max`, so that later ones overtake it
    straggle_us_max: int = 3_000 * MS


class Network:
    def __init__(self, scheduler: Scheduler, draw: random.Random, weather: Weather) -> None:
        self.weather = weather
        self._window = self._sent = 0
        self._scheduler = scheduler
        self._draw = draw
        self._handlers: dict[str, Handler] = {}
        self._cut: dict[tuple[str, str], int] = {}  # (from, to) -> how many partitions hold it cut

    def attach(self, name: str, handler: Handler) -> None:
        self._handlers[name] = handler

    def detach(self, name: str) -> None:
        self._handlers.pop(name, None)

    def send(self, from_: str, to: str, message: Any) -> None:
        draw, weather = self._draw, self.weather
        self._count()
        if (from_, to) in self._cut or draw.random() < weather.drop:
            return
        copies = 2 if weather.duplicate and draw.random() < weather.duplicate else 1
        for _ in range(copies):
            self._scheduler.after(self._delay_us(), self._arrive, from_, to, message)

    def _count(self) -> None:
        window = self._scheduler.now_us // WINDOW_US
        if window != self._window:
            self._window, self._sent = window, 0
        self._sent += 1
        if self._sent > MESSAGES_PER_WINDOW_MAX:
            raise Violation("traffic", f"more than {MESSAGES_PER_WINDOW_MAX} messages in {WINDOW_US} us")

    def _delay_us(self) -> int:
        draw, weather = self._draw, self.weather
        if weather.straggle and draw.random() < weather.straggle:
            return draw.randrange(weather.straggle_us_max)
        return weather.delay_us_min + int(draw.expovariate(1.0) * weather.delay_us_mean)

    def _arrive(self, from_: str, to: str, message: Any) -> None:
        # A cut link also loses what was under way on it.
        if (from_, to) not in self._cut and (handler := self._handlers.get(to)):
            handler(from_, message)

    # Partitions

    def cut(self, links: Iterable[tuple[str, str]]) -> None:
        for link in links:
            self._cut[link] = self._cut.get(link, 0) + 1

    def mend(self, links: Iterable[tuple[str, str]]) -> None:
        """Undoes one `cut` of the same links."""
        for link in links:
            if self._cut.get(link, 0) <= 1:
                self._cut.pop(link, None)
            else:
                self._cut[link] -= 1

    def heal(self) -> None:
        """Ends every partition, and all bad weather but delay."""
        self._cut.clear()
        self.weather = Weather(self.weather.delay_us_min, self.weather.delay_us_mean)


def between(one: Iterable[str], other: Iterable[str]) -> list[tuple[str, str]]:
    """The links from one side to the other; call it both ways round for a full partition."""
    far = list(other)
    return [(near, name) for near in one for name in far if near != name]
