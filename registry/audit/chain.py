"""Sans-IO. Lines of an audit log, each bound to the one before.

A line is one JSON object. It begins with its number (`seq`) and the hash of the line before (`prev`), and
ends with its own hash: SHA-256 over all bytes of the line before `,"hash":`. Whoever changes, takes out or
puts in a line has to make all that follow anew, and then the head is another one. Heads are told to the
server's own log, to be compared with.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from .event import DETAIL_CHARS_MAX, DETAILS_MAX, Event
from .subjects import kind_of, subjects

GENESIS = "0" * 64
"""What the first line of all follows."""

LINE_BYTES_MAX = 64 * 1024
"""All texts of an event at their longest, escaped, stay below it."""

_HASH = b',"hash":"'
_TAIL_BYTES = len(_HASH) + 64 + len(b'"}')


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line: its number and its hash."""

    seq: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def line_of(event: Event, at_s: float, suppressed: int, head: Head) -> tuple[bytes, Head]:
    """The line that follows `head`, with its newline, and the head that it makes. `at_s` is Unix time;
    `suppressed` counts refusals since the line before that have none of their own."""
    fields: dict[str, object] = {
        "seq": head.seq + 1,
        "prev": head.hash,
        "time": datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "operation": _cut(event.operation),
        "resource": _cut(event.resource),
        "outcome": event.outcome.value,
        "accessor_id": _cut(event.accessor_id),
        "source": _cut(event.source),
        "index": event.index,
        "request_id": _cut(event.request_id),
    }
    if event.reason:
        fields["reason"] = _cut(event.reason)
    if event.command is not None and (kind := kind_of(event.command)):
        fields |= {"command": kind, "subjects": subjects(event.command)}
    if event.detail:
        shown = list(event.detail.items())[:DETAILS_MAX]
        fields["detail"] = {_cut(key): _cut(it) if isinstance(it, str) else it for key, it in shown}
    if suppressed:
        fields["suppressed"] = suppressed
    body = orjson.dumps(fields)[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return body + _HASH + digest.encode() + b'"}\n', Head(head.seq + 1, digest)


def _cut(text: str) -> str:
    """Within the bound, and text that JSON can hold: lone surrogates of a path become `?`."""
    return text[:DETAIL_CHARS_MAX].encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read: where it stands in the chain. `is_sound`: its own hash fits its content."""

    seq: int
    prev: str
    hash: str
    is_sound: bool


def read_line(line: bytes) -> Line | None:
    """None for what no audit log has written. `line` is without its newline."""
    body, end = line[:-_TAIL_BYTES], line[-_TAIL_BYTES:]
    if len(line) > LINE_BYTES_MAX or not end.startswith(_HASH) or not end.endswith(b'"}'):
        return None
    try:
        fields = orjson.loads(body + b"}")
        told = end[len(_HASH) : -2].decode("ascii")
    except ValueError:
        return None
    seq, prev = (fields.get("seq"), fields.get("prev")) if isinstance(fields, dict) else (None, None)
    if type(seq) is not int or not isinstance(prev, str):
        return None
    return Line(seq, prev, told, hashlib.sha256(body).hexdigest() == told)
