"""`/v1/agent/{monitor,metrics/stream}`: what this process logs and measures, as it happens.

Weft's own parameter `seconds` ends the answer after so long; without it, it ends when the client goes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson
from structlog.typing import EventDict

from weft.log_feed import FEED

from ..acl.access import Access
from ..acl.caller import Caller
from .agent_node import metrics_document
from .caller_now import may_still
from .errors import BadRequest
from .handling import Call
from .respond import JSON_TYPE, Reply

LEVELS = {"trace": 0, "debug": 0, "info": 1, "warn": 2, "err": 3, "error": 3}
_RANKS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 3}
_SHOWN = {"warning": "WARN", "critical": "ERROR"}
_NAMED = ("timestamp", "level", "event")
SECONDS_MAX = 24 * 3600.0
WAIT_S = 1.0  # how late a withdrawn token, and the end, are noticed
METRICS_EVERY_S = 10.0  # Consul's interval


async def monitor(call: Call) -> Reply:
    """Lines of the log from `loglevel` on, as text or, with `logjson`, as JSON. What the process does not log
    (`--log-level`) is not seen here either."""
    level = call.query.text("loglevel").lower() or "info"
    if level not in LEVELS:
        raise BadRequest(f"Unknown log level: {level[:20]}")
    if FEED.is_full:
        raise BadRequest("this log is followed by too many already: retry later")
    as_json = call.query.flag("logjson")
    kind = JSON_TYPE if as_json else "text/plain; charset=utf-8"
    return Reply(200, content_type=kind, stream=_lines(call, _seconds(call), LEVELS[level], as_json))


async def metrics_stream(call: Call) -> Reply:
    """What agent/metrics tells, a line of JSON every ten seconds."""
    return Reply(200, content_type=JSON_TYPE, stream=_measured(call, _seconds(call)))


def _seconds(call: Call) -> float:
    """Raises BadRequest."""
    text = call.query.text("seconds")
    try:
        seconds = float(text) if text else SECONDS_MAX
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= SECONDS_MAX:
        raise BadRequest(f"seconds {text[:20]!r}: use more than 0, and 86400 at most")
    return seconds


async def _lines(call: Call, seconds: float, level: int, as_json: bool) -> AsyncIterator[bytes]:
    clock = call.parts.clock.monotonic
    ends, lost, reads = clock() + seconds, 0, _reads(call)
    with FEED.following() as reader:
        while (left_s := ends - clock()) > 0 and await may_still(call, reads):
            events = await reader.next(min(WAIT_S, left_s))
            shown = [it for it in events if _RANKS.get(str(it.get("level")), 1) >= level]
            if reader.lost > lost:
                shown.append({"level": "warning", "event": "lines were lost", "count": reader.lost - lost})
                lost = reader.lost
            if shown:
                yield b"".join(_line(it, as_json) for it in shown)


def _line(event: EventDict, as_json: bool) -> bytes:
    if as_json:
        named = {f"@{name}": event.get(name, "") for name in ("level", "timestamp")}
        rest = {key: value for key, value in event.items() if key not in _NAMED}
        document = named | {"@message": event.get("event", "")} | rest
        return orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n"
    level = str(event.get("level", "info"))
    pairs = "".join(f" {key}={value}" for key, value in event.items() if key not in _NAMED)
    shown = f"[{_SHOWN.get(level, level.upper())}]"
    text = f"{event.get('timestamp', '')} {shown:<7} {event.get('event', '')}"
    return f"{text}:{pairs}".removesuffix(":").replace("\n", "\\n").encode() + b"\n"


async def _measured(call: Call, seconds: float) -> AsyncIterator[bytes]:
    clock = call.parts.clock.monotonic
    now = clock()
    ends, due, reads = now + seconds, now, _reads(call)
    while (now := clock()) < ends and await may_still(call, reads):
        if now >= due:
            due += METRICS_EVERY_S
            yield orjson.dumps(metrics_document(call)) + b"\n"
        await asyncio.sleep(max(0.0, min(WAIT_S, ends - now, due - now)))


def _reads(call: Call) -> Callable[[Caller], bool]:
    """What the caller must be allowed for as long as the answer lasts."""
    name = call.parts.agent.node.name
    return lambda caller: caller.may.allows("agent", name, Access.READ)
