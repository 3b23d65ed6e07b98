"""Where requests go that something looks at: spans to the exporter, lines to the access log.

Both are bounded; what does not fit is counted and gone. Nothing here waits.
"""

from collections import deque

import orjson

from .calls import EndedCall
from .events import ACCESS_LOG_LINES, SPANS
from .telemetry import Telemetry

SPANS_MAX = 2048  # waiting for the exporter: 2 MiB; OpenTelemetry's own default
LOG_BYTES_MAX = 4 * 1024 * 1024  # waiting for the file or the pipe: some 10,000 lines
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


class Outlets:
    """Of one sidecar."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.spans = Spans(telemetry)
        self.log = LogLines(telemetry)
