"""One request that has ended, as spans, the access log and taps tell of it.

Made only for requests that one of them wants. Values of headers stay inside but for a few that are known to
hold no secret, and paths come without their query.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .h2.block import Block
from .telemetry import Call

# Headers whose values may be shown: of no other is it known that it holds no secret.
SHOWN = frozenset(
    (
        *(b"accept", b"accept-encoding", b"content-length", b"content-type", b"grpc-accept-encoding"),
        *(b"grpc-encoding", b"grpc-timeout", b"te", b"traceparent", b"user-agent", b"x-request-id"),
        *(b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled"),
    )
)
REDACTED = "[redacted]"
TEXT_CHARS_MAX = 1024  # of one value: a path or a user agent is far below
HEADERS_SHOWN_MAX = 64


@dataclass(frozen=True, slots=True)
class EndedCall:
    """`started_s` is Unix time. `grpc_status` is -1 and `http_status` 0 where there was none; `reason` says
    why this proxy answered itself, "" where it did not."""

    call: Call
    started_s: float
    seconds: float
    method: str
    path: str
    authority: str
    grpc: bool
    http_status: int
    grpc_status: int
    reason: str
    attempts: int
    instance: str  # key of the instance that was called last; "" for none, and for our application
    instance_address: str
    peer_address: str  # of whoever called; "" on a Unix socket
    trace_id: str
    span_id: str  # of a sampled request; "" otherwise
    parent_id: str
    headers: tuple[tuple[str, str], ...]

    @property
    def failed(self) -> bool:
        """By the caller's measure: a gRPC status other than OK, else 5xx or no answer at all."""
        if self.grpc_status >= 0:
            return self.grpc_status != 0
        return self.http_status >= 500 or self.http_status == 0

    def document(self) -> dict[str, Any]:
        """As JSON says it, in the access log and in taps."""
        call = self.call
        told = {
            "direction": call.direction.value,
            "source": call.source,
            "destination": call.destination,
            "route": call.route,
            "target": call.target,
            "instance": self.instance,
            "method": self.method,
            "path": self.path,
            "authority": self.authority,
            "http_status": self.http_status,
            "grpc_status": self.grpc_status if self.grpc_status >= 0 else None,
            "duration_ms": round(self.seconds * 1000, 3),
            "attempts": self.attempts,
            "reason": self.reason,
            "peer": self.peer_address,
            "trace_id": self.trace_id,
        }
        return {name: value for name, value in told.items() if value not in ("", None)}


def text(value: bytes) -> str:
    """Bytes of a peer for people: bounded, whatever they are."""
    return value[:TEXT_CHARS_MAX].decode("utf-8", "backslashreplace")


def path_of(target: bytes) -> str:
    """A path without its query, which may hold secrets."""
    return text(target.partition(b"?")[0])


def shown_headers(block: Block) -> tuple[tuple[str, str], ...]:
    """All names but those of pseudo-header fields; values only where they are harmless."""
    pairs = [field for field in block.head.fields if field[0][:1] != b":"]
    pairs += [(literal.name, literal.value()) for literal in block.extra]
    return tuple(_shown(pairs[:HEADERS_SHOWN_MAX]))


def _shown(pairs: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    for name, value in pairs:
        yield text(name), text(value) if name in SHOWN else REDACTED
