"""Writes docs/memory.md from the constants of the data plane: `python -m tests.tidy.memory_page`.

A tidy test runs the same code and compares; it also looks for bounds that are in no row here.
"""

import importlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "memory.md"

INTRO = """\
# What a sidecar holds, and how much of it

Nothing in the data plane grows with what a caller or an application does beyond these bounds. The numbers are
the program's own constants: this page is made from them.

Together it is less than the sum of the rows. What waits as somebody reads slowly, bodies kept for a retry,
and large heads come out of one purse (the first row), so that many slow callers cannot each have their bound.
With `--workers` each of N workers has an N-th of it.
"""


class Row(NamedTuple):
    """`bound` is the constant, as `module:NAME` under `sidecar`; `unit` is of what it counts."""

    what: str
    bound: str
    unit: str
    then: str  # what happens at the bound


class Scope(NamedTuple):
    title: str
    rows: tuple[Row, ...]


SCOPES = (
    Scope(
        "The process",
        (
            Row(
                "Waiting for slow readers, kept for retries, large heads: all together",
                "h2.outbox:HELD_BYTES_MAX",
                "bytes",
                "the caller that holds most loses its largest streams",
            ),
            Row(
                "Connections of one listener's side", "proxy.side:CONNECTIONS_MAX", "count", "closed; counted"
            ),
            Row(
                "Connections that have not said what they speak, of one listener",
                "proxy.detect:SNIFFING_MAX",
                "count",
                "closed",
            ),
            Row(
                "Connections to the application, of HTTP/1.1 and TCP",
                "proxy.singles:CONNECTIONS_MAX",
                "count",
                "requests wait",
            ),
            Row(
                "Destinations outside the mesh with connections",
                "proxy.egress:POOLS_MAX",
                "count",
                "idle ones are closed",
            ),
            Row("Refused destinations named in the log", "proxy.egress:LOGGED_MAX", "count", "counted only"),
            Row("Copies of requests under way", "proxy.mirror:UNDER_WAY_MAX", "count", "dropped and counted"),
            Row(
                "Series of request metrics, 2 KiB each",
                "telemetry:SERIES_MAX",
                "count",
                'counted as `"other"`',
            ),
            Row(
                "Labelled counters of each other metric",
                "telemetry:COUNTS_MAX",
                "count",
                'counted as `"other"`',
            ),
            Row(
                "Spans on their way to the collector, 1 KiB each",
                "outlets:SPANS_MAX",
                "count",
                "dropped and counted",
            ),
            Row("Access log on its way to the file", "outlets:LOG_BYTES_MAX", "bytes", "dropped and counted"),
            Row("Taps", "outlets:TAPS_MAX", "count", "refused"),
            Row("Requests of one tap, not yet read", "tap:QUEUE_MAX", "count", "dropped and counted"),
            Row(
                "Callers with a bucket, of one rate limit",
                "policy.buckets:CALLERS_MAX",
                "count",
                "the one that asked longest ago is forgotten",
            ),
            Row("A key set, fetched", "policy.tokens:JWKS_BYTES_MAX", "bytes", "refused; the old one stays"),
            Row("Keys of a set", "policy.tokens:KEYS_MAX", "count", "refused; the old one stays"),
            Row(
                "Tokens whose proof is remembered, of one provider",
                "policy.tokens:MEMO_MAX",
                "count",
                "all are forgotten",
            ),
            Row("A token", "policy.tokens:TOKEN_BYTES_MAX", "bytes", "not believed"),
        ),
    ),
    Scope(
        "An HTTP/2 connection",
        (
            Row("An incomplete frame", "h2.frames:FRAME_BYTES_MAX", "bytes", "FRAME_SIZE_ERROR"),
            Row(
                "A header block in pieces",
                "h2.abuse:BLOCK_BYTES_MAX",
                "bytes",
                "ENHANCE_YOUR_CALM; twice `MaxRequestHeadersKB` where that is more",
            ),
            Row("Its pieces", "h2.abuse:CONTINUATIONS_MAX", "count", "ENHANCE_YOUR_CALM"),
            Row(
                "A header list, decoded",
                "h2.settings:HEADER_LIST_BYTES_MAX",
                "bytes",
                "431; `MaxRequestHeadersKB` says another",
            ),
            Row(
                "Large heads of one caller's open requests",
                "proxy.downstream:LARGE_HEADS_BYTES_MAX",
                "bytes",
                "REFUSED_STREAM",
            ),
            Row("Streams", "h2.settings:STREAMS_MAX", "count", "REFUSED_STREAM"),
            Row(
                "Dynamic tables, ours and the peer's, each", "h2.table:TABLE_SIZE_DEFAULT", "bytes", "evicted"
            ),
            Row(
                "Blocks whose meaning is remembered",
                "h2.memos:MEMO_ENTRIES_MAX",
                "count",
                "all are forgotten",
            ),
            Row("Their octets", "h2.memos:MEMO_BYTES_MAX", "bytes", "all are forgotten"),
            Row("What one of them means", "h2.memos:MEMO_HEAD_BYTES_MAX", "bytes", "it is decoded each time"),
            Row("Heads, remembered", "h2.memos:HEADS_MAX", "count", "all are forgotten"),
            Row("Encoded blocks, remembered", "h2.encoder:MEMO_BYTES_MAX", "bytes", "all are forgotten"),
            Row(
                "Ids of streams that we reset",
                "h2.connection:RESETS_REMEMBERED_MAX",
                "count",
                "stragglers of the oldest are errors",
            ),
            Row(
                "Written and not taken by the socket, before answers wait",
                "proxy.downstream:WRITE_HIGH_BYTES",
                "bytes",
                "DATA waits on its streams, in the purse",
            ),
            Row(
                "The same, with what is not flow-controlled (answers, control frames)",
                "proxy.downstream:BACKLOG_BYTES_MAX",
                "bytes",
                "nothing more is read from the peer",
            ),
            Row("The same, of a peer that takes nothing", "h2.control:STUCK_BYTES_MAX", "bytes", "closed"),
        ),
    ),
    Scope(
        "A stream",
        (
            Row(
                "DATA that its reader has not taken",
                "h2.settings:STREAM_WINDOW_BYTES",
                "bytes",
                "the sender's window is empty",
            ),
            Row(
                "The same, of an answer to who asks for much and has read nothing of it yet",
                "proxy.aside:FIRST_WINDOW_BYTES",
                "bytes",
                "the sender's window is empty",
            ),
            Row(
                "The same, of an answer of our own application",
                "proxy.aside:APP_FIRST_WINDOW_BYTES",
                "bytes",
                "its window is empty",
            ),
            Row(
                "A request's body, kept for a retry",
                "h2.connection:REPLAY_BYTES_MAX",
                "bytes",
                "not kept: no retry; a route's policy may say up to 1 MiB",
            ),
            Row("An answer to a health check", "proxy.sink:BODY_BYTES_MAX", "bytes", "the rest is dropped"),
        ),
    ),
    Scope(
        "An HTTP/1.1 connection",
        (
            Row("A head", "http1.strict:HEAD_BYTES_MAX", "bytes", "431; `MaxRequestHeadersKB` says another"),
            Row("Its fields", "http1.strict:FIELDS_MAX", "count", "431"),
            Row("A trailer section", "http1.strict:TRAILERS_BYTES_MAX", "bytes", "400"),
            Row(
                "Requests that wait behind the one being served",
                "proxy.http1_downstream:WAITING_BYTES_MAX",
                "bytes",
                "nothing more is read",
            ),
            Row(
                "Of the application's answer, not yet passed on",
                "proxy.http1_upstream:WAITING_BYTES_MAX",
                "bytes",
                "nothing more is read",
            ),
            Row(
                "Heads without their varying lines, remembered",
                "http1.decoder:STABLE_MAX",
                "count",
                "all are forgotten",
            ),
            Row("Encoded heads, remembered", "http1.encoder:MEMO_BYTES_MAX", "bytes", "all are forgotten"),
            Row(
                "The beginning of a TLS client through the forward proxy",
                "proxy.client_hello:BYTES_MAX",
                "bytes",
                "refused",
            ),
        ),
    ),
    Scope(
        "An instance that is called",
        (
            Row(
                "Connections to it, of each lane",
                "proxy.pool:CONNECTIONS_PER_INSTANCE_MAX",
                "count",
                "requests wait",
            ),
            Row("Health checks under way, of its target", "proxy.prober:AT_ONCE_MAX", "count", "asked later"),
        ),
    ),
)

NO_BUFFERS = frozenset(
    # Numbers on the wire, thresholds between two ways, and rates: nothing is kept by them.
    (
        "h2.abuse:RESETS_MAX",
        "h2.abuse:CONTROL_MAX",
        "h2.abuse:EMPTY_MAX",
        "h2.abuse:STRAGGLERS_MAX",
        "h2.abuse:INFORMATIONAL_MAX",
        "h2.abuse:CONTINUATION_BYTES",
        "h2.abuse:DRIBBLE_BYTES",
        "h2.block:TRACE_BYTES",
        "h2.abuse:SETTINGS_BYTES_PER_COST",
        "h2.connection:LARGE_BLOCKS_BYTES",
        "h2.connection:LARGE_BLOCK_BYTES",
        "h2.connection:REPLAY_SMALL_BYTES",
        "h2.connection:TURNS_AT_END_MAX",
        "h2.connection:TURN_BYTES",
        "h2.connection:TURN_MAX",
        "h2.decoder:BLOCK_PER_LIST_MAX",
        "h2.decoder:FIELDS_MAX",
        "h2.decoder:FIELDS_UNCOUNTED_MAX",
        "h2.fields:CONTENT_LENGTH_DIGITS_MAX",
        "h2.fields:FIELD_OVERHEAD_BYTES",
        "h2.fields:GRPC_STATUS_MAX",
        "h2.fields:NAME_SHOWN_MAX",
        "h2.flow:CREDIT_BYTES",
        "h2.flow:JOIN_BYTES",
        "h2.flow:PUMP_BYTES",
        "h2.frames:HEADER_BYTES",
        "h2.frames:PING_BYTES",
        "h2.frames:SETTING_BYTES",
        "h2.frames:STREAM_ID_MAX",
        "h2.frames:WINDOW_MAX",
        "h2.memos:LIST_PER_LITERALS_MAX",
        "h2.primitives:CONTINUATIONS_MAX",
        "h2.reader:UPDATES_MAX",
        "h2.settings:CONNECTION_WINDOW_BYTES",
        "http1.decoder:LITERAL_BYTES",
        "http1.strict:CHUNK_EXCESS_BYTES_MAX",
        "http1.strict:CHUNK_LINE_BYTES_MAX",
        "http1.strict:CHUNK_SIZE_DIGITS_MAX",
        "http1.strict:LENGTH_DIGITS_MAX",
        "http1.strict:LINE_BYTES_MAX",
        "http1.hop:TOKENS_MAX",
        "proxy.aside:UNREAD_BYTES",
        "proxy.downstream:FIELD_COST_BYTES",
        "proxy.downstream:LARGE_HEADS_BYTES_CALM",
        "proxy.downstream:LARGE_HEAD_BYTES",
        "proxy.http1_downstream:DROPPED_BYTES_MAX",
        "proxy.singles:CONNECTING_MAX",
        "proxy.upstream:APP_STREAMS_MAX",
        "telemetry:GRPC_STATUS_MAX",
        # The same bound said once more, or a part of one that is in a row.
        "h2.decoder:HEADER_LIST_BYTES_MAX",
        "proxy.upstream:WRITE_HIGH_BYTES",
        "h2.memos:HEAD_BYTES_MAX",
        "h2.memos:MEMO_BLOCK_BYTES_MAX",
        "h2.memos:BEGINNINGS_MAX",
        "h2.memos:BEGINNING_BYTES_MAX",
        "h2.memos:SHAPES_MAX",
        "h2.memos:SHAPE_BYTES_MAX",
        "h2.reader:NAMES_MAX",
        "h2.reader:NAME_BYTES_MAX",
        "h2.encoder:MEMO_ENTRIES_MAX",
        "h2.encoder:MEMO_BLOCK_BYTES_MAX",
        "h2.encoder:SEEN_MAX",
        "h2.encoder:SEEN_FIELD_BYTES_MAX",
        "http1.decoder:NAMES_MAX",
        "http1.decoder:NAME_BYTES_MAX",
        "http1.decoder:STABLE_BYTES_MAX",
        "http1.encoder:MEMO_ENTRIES_MAX",
    )
)


def value_of(bound: str) -> int:
    """The constant that a row names."""
    module, name = bound.split(":")
    return int(getattr(importlib.import_module(f"sidecar.{module}"), name))


def shown(value: int, unit: str) -> str:
    if unit == "count":
        return f"{value:,}"
    for size, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size and value % size == 0:
            return f"{value // size} {name}"
    return f"{value:,} bytes"


def render() -> str:
    parts = [INTRO]
    for scope in SCOPES:
        parts.append(f"\n## {scope.title}\n\n| What | At most | Then | Constant |\n|---|---|---|---|\n")
        for row in scope.rows:
            at = f"`sidecar/{row.bound.replace('.', '/').replace(':', '.py`, `')}`"
            parts.append(f"| {row.what} | {shown(value_of(row.bound), row.unit)} | {row.then} | {at} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE.relative_to(ROOT)}")
