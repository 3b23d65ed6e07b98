"""Where requests go that something looks at: spans to the exporter, lines to the access log, taps.

All are bounded; what does not fit is counted and gone. Nothing here waits.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson

from weft.clock import Clock
from weft.tap_query import TapFilter

from .calls import EndedCall
from .errors import TapsFull
from .events import ACCESS_LOG_LINES, SPANS, TAPPED
from .tap import Tap
from .telemetry import Telemetry

SPANS_MAX = 2048  # waiting for the exporter: 2 MiB; OpenTelemetry's own default
LOG_BYTES_MAX = 4 * 1024 * 1024  # waiting for the file or the pipe: some 10,000 lines
TAPS_MAX = 16  # each looks at every request
# Beside `EndedCall.document`, of the headers: what finds a request again in other logs.
LOGGED_HEADERS = {"user-agent": "user_agent", "x-request-id": "request_id"}


class Spans:
    """Sampled requests on their way to the exporter."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._waiting: deque[EndedCall] = deque()
        self._dropped = telemetry.count(SPANS, "dropped")

    def offer(self, ended: EndedCall) -> None:
        if len(self._waiting) >= SPANS_MAX:
            self._dropped.value += 1
        else:
            self._waiting.append(ended)

    def take(self, count_max: int) -> list[EndedCall]:
        """The oldest that wait, and out of the queue they are."""
        return [self._waiting.popleft() for _ in range(min(count_max, len(self._waiting)))]


class LogLines:
    """Lines on their way to the access log."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = telemetry.count(ACCESS_LOG_LINES, "dropped")

    def offer(self, ended: EndedCall) -> None:
        line = orjson.dumps(_line(ended), option=orjson.OPT_APPEND_NEWLINE)
        if self._bytes + len(line) > LOG_BYTES_MAX:
            self._dropped.value += 1
        else:
            self._lines.append(line)
            self._bytes += len(line)

    def take(self) -> list[bytes]:
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines


def _line(ended: EndedCall) -> dict[str, object]:
    headers = dict(ended.headers)
    shown = {to: headers[name] for name, to in LOGGED_HEADERS.items() if name in headers}
    return {"time": round(ended.started_s, 3), **ended.document(), **shown}


def refuse_more(taps: int) -> None:
    """Raises TapsFull where there are so many taps already."""
    if taps >= TAPS_MAX:
        raise TapsFull(f"{TAPS_MAX} taps are open already; end one")


class Outlets:
    """Of one sidecar. `changed` is called when the first tap comes or the last one goes."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self.spans = Spans(telemetry)
        self.log = LogLines(telemetry)
        self.taps: tuple[Tap, ...] = ()
        self.changed: Callable[[], None] = _nothing
        self._telemetry = telemetry
        self._clock = clock

    @contextmanager
    def tapped(self, wanted: TapFilter, rate: float) -> Iterator[Tap]:
        """A tap for as long as the context lasts. Raises TapsFull."""
        refuse_more(len(self.taps))
        count = self._telemetry.count
        tap = Tap(wanted, rate, self._clock, count(TAPPED, "sent"), count(TAPPED, "dropped"))
        self._set((*self.taps, tap))
        try:
            yield tap
        finally:
            self._set(tuple(other for other in self.taps if other is not tap))

    def _set(self, taps: tuple[Tap, ...]) -> None:
        before, self.taps = self.taps, taps
        if bool(before) != bool(taps):
            self.changed()


def _nothing() -> None:
    """Before there is a switch."""
