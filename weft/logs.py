"""Structured logs on stderr: for people on a terminal, JSON lines otherwise. Secrets never appear."""

import logging
import re
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .log_feed import FEED

LEVELS = ("debug", "info", "warning", "error")
STYLES = ("auto", "text", "json")
REDACTED = "[redacted]"
_SECRET_KEY = re.compile(
    r"(^|_|-)(secret|token|password|authorization|cookie|credential|private_key|key_pem)($|_|-)", re.I
)
_SECRET_TEXT = re.compile(
    r"((?:[?&]|\b)(?:token|secret)=)[^&\s'\"]+|(\bBearer )[^\s'\"]+|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.I | re.S,
)


def configure(level: str = "info", stream: TextIO | None = None, style: str = "auto") -> None:
    """Sets up structlog, and the standard library's logging (aiohttp, asyncio, grpc) to match.

    Composition roots call it once. `level` is one of LEVELS, `style` one of STYLES.
    """
    out = _Lossy(stream or sys.stderr)
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: the pretty ones print local variables, and those hold secrets. Redaction is last
    # before rendering, so that it also reads them.
    ending: list[Processor] = [structlog.processors.format_exc_info, redact, FEED, _renderer(out, style)]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=stream is None,
    )
    handler = logging.StreamHandler(out)
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name], processors=[strip, *ending]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class _Lossy:
    """A stream that loses what cannot be written: a full disk or a reader that has gone ends no program."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hides what is named like a secret, and what looks like one inside text (`?token=`, keys)."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = REDACTED
        elif isinstance(value, str):
            event[key] = _SECRET_TEXT.sub(_hide, value)
    return event


def _hide(found: re.Match[str]) -> str:
    return (found[1] or found[2] or "") + REDACTED


def _renderer(out: _Lossy, style: str) -> Processor:
    if style == "text" or (style == "auto" and out.isatty()):
        return structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.processors.JSONRenderer(serializer=_to_json)


def _to_json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
