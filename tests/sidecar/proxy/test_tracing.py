"""Requests join their trace or begin one, on the wire; what is sampled becomes a span."""

import asyncio
import dataclasses
import json
import random
import re
from collections.abc import AsyncIterator, Sequence

import pytest

from sidecar.calls import REDACTED
from sidecar.h2.names import TRACE_CONTEXT
from sidecar.h2.primitives import encode_raw
from sidecar.outlets import Outlets
from sidecar.proxy.observe import Observer
from sidecar.proxy.tracing import STOCK
from sidecar.snapshot import Protocol, TelemetryPolicy
from sidecar.telemetry import Telemetry
from tests.support.http1 import Pair, aiohttp_app, pair, raw_app
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import (
    END_HEADERS,
    END_STREAM,
    GRPC,
    HEAD_OK,
    HEADERS,
    TRAILERS_OK,
    Header,
    Wire,
    frame,
)
from weft.clock import SystemClock

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EXPORTED = TelemetryPolicy(otlp_endpoint="http://127.0.0.1:4318")


class Traced:
    """The plain switch with a policy, and what its outlets got."""

    def __init__(self, plain: Plain) -> None:
        self.plain = plain
        self.outlets = Outlets(Telemetry(), SystemClock())

    def use(self, policy: TelemetryPolicy) -> None:
        self.plain.side.observe(Observer(policy, self.outlets, random.Random(5), SystemClock()))

    async def asked(self, *extra: Header, indexed: bool = False) -> tuple[Wire, Wire, int]:
        """One request with these fields: the caller, the application and the stream's id there."""
        caller = await self.plain.caller()
        block = caller.block((*GRPC, *extra)) if indexed else caller.block(GRPC) + literals(extra)
        before = self.plain.app.requests()
        caller.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        app = await self.plain.app.wire()
        return caller, app, (await app.asked(before + 1))[-1]

    async def forwarded(self, *extra: Header, indexed: bool = False) -> dict[str, str]:
        caller, app, sid = await self.asked(*extra, indexed=indexed)
        await answered(caller, app, sid)
        return {name: value for name, value in app.heard(sid).fields if (name, value) not in GRPC}


async def answered(caller: Wire, app: Wire, sid: int) -> None:
    app.headers(sid, HEAD_OK)
    app.headers(sid, TRAILERS_OK, end=True)
    await caller.over(1)


def literals(fields: Sequence[Header]) -> bytes:
    """As gRPC's C core sends them: without indexing."""
    return b"".join(b"\0" + encode_raw(name.encode()) + encode_raw(value.encode()) for name, value in fields)


@pytest.fixture
def traced(plain: Plain) -> Traced:
    return Traced(plain)


async def test_a_request_without_a_context_gets_one(traced: Traced) -> None:
    traced.use(EXPORTED)
    sent = await traced.forwarded(("grpc-timeout", "1S"))
    assert sent.keys() == {"traceparent", "grpc-timeout"}
    version, trace_id, span_id, flags = sent["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id), flags) == ("00", 32, 16, "00")
    assert not traced.outlets.spans.take(9)


async def test_each_request_gets_another(traced: Traced) -> None:
    traced.use(EXPORTED)
    caller = await traced.plain.caller()
    for number in range(STOCK + 10):
        caller.headers(2 * number + 1, end=True)
        if number >= 50:  # fewer than the application takes at once
            await until(lambda: traced.plain.app.requests() == number + 1, "the request")  # noqa: B023
    contexts = [
        wire.heard(sid).blocks[0]["traceparent"] for wire in traced.plain.app.wires for sid in wire.requests()
    ]
    assert len(set(contexts)) == STOCK + 10


async def test_each_with_a_deadline_gets_another_too(traced: Traced) -> None:
    """Of blocks whose shape says that there is no context, none gets by without one."""
    traced.use(EXPORTED)
    caller = await traced.plain.caller()
    caller.headers(1, end=True)
    for number in range(1, 9):
        block = caller.block(GRPC) + literals([("grpc-timeout", f"{number}S")])
        caller.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block))
    app = await traced.plain.app.wire()
    contexts = [app.heard(sid).blocks[0]["traceparent"] for sid in await app.asked(9)]
    assert len(set(contexts)) == 9
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", it) for it in contexts)


@pytest.mark.parametrize("indexed", [False, True])
async def test_an_unsampled_context_passes_as_it_came(traced: Traced, indexed: bool) -> None:
    traced.use(EXPORTED)
    came = {"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "a=1", "baggage": "k=v"}
    assert await traced.forwarded(*came.items(), indexed=indexed) == came
    assert not traced.outlets.spans.take(9)


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_sampled_one_goes_on_with_our_span(traced: Traced, indexed: bool) -> None:
    traced.use(EXPORTED)
    came = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1", "baggage": "k=v"}
    sent = await traced.forwarded(*came.items(), indexed=indexed)
    (span,) = traced.outlets.spans.take(9)
    assert (span.trace_id, span.parent_id) == (TRACE, SPAN)
    assert sent == came | {"traceparent": f"00-{TRACE}-{span.span_id}-01"}
    assert (span.path, span.grpc_status, span.http_status, span.attempts) == ("/s/m", 0, 200, 1)
    assert 0 < span.seconds < 10 and span.call.source == "test"


async def test_a_sampled_one_among_many_that_are_not(traced: Traced) -> None:
    """Of blocks that differ in the context alone, the decision is read of each."""
    traced.use(EXPORTED)
    caller = await traced.plain.caller()
    caller.headers(1, end=True)
    contexts = [f"00-{number:032x}-{SPAN}-0{int(number % 4 == 0)}" for number in range(1, 9)]
    for number, context in enumerate(contexts, 1):
        block = caller.block(GRPC) + literals([("traceparent", context)])
        caller.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block))
    app = await traced.plain.app.wire()
    sids = (await app.asked(9))[1:]
    for sid in sids:
        app.headers(sid, HEAD_OK)
        app.headers(sid, TRAILERS_OK, end=True)
    await caller.over(17)
    spans = traced.outlets.spans.take(9)
    assert sorted(span.trace_id for span in spans) == [f"{number:032x}" for number in (4, 8)]
    sent = [app.heard(sid).blocks[0]["traceparent"] for sid in sids]
    assert [now == then for now, then in zip(sent, contexts, strict=True)] == [
        number % 4 != 0 for number in range(1, 9)
    ]


async def test_it_is_indexed_and_comes_again(traced: Traced) -> None:
    """A caller's encoder that indexes all it sends names the context by an index the second time."""
    traced.use(EXPORTED)
    fields = (*GRPC, ("traceparent", f"00-{TRACE}-{SPAN}-01"))
    caller = await traced.plain.caller()
    for sid in (1, 3, 5):
        caller.headers(sid, fields, end=True)
    app = await traced.plain.app.wire()
    sent = [app.heard(sid).blocks[0]["traceparent"] for sid in await app.asked(3)]
    assert len(set(sent)) == 3 and all(value.startswith(f"00-{TRACE}-") for value in sent)


async def test_b3_is_joined_as_b3(traced: Traced) -> None:
    traced.use(EXPORTED)
    sent = await traced.forwarded(("b3", f"{TRACE}-{SPAN}-1"))
    (span,) = traced.outlets.spans.take(9)
    assert sent == {"b3": f"{TRACE}-{span.span_id}-1-{SPAN}"}


async def test_b3_that_says_no_passes_alone(traced: Traced) -> None:
    traced.use(TelemetryPolicy(trace_ppm=1_000_000))
    assert await traced.forwarded(("b3", "0")) == {"b3": "0"}
    assert not traced.outlets.spans.take(9)


async def test_a_context_that_cannot_be_read_is_begun_anew(traced: Traced) -> None:
    traced.use(EXPORTED)
    sent = await traced.forwarded(
        ("traceparent", f"ff-{TRACE}-{SPAN}-01"), ("tracestate", "a=1"), ("baggage", "k=v")
    )
    assert sent.keys() == {"traceparent", "baggage"} and TRACE not in sent["traceparent"]


async def test_a_share_of_new_traces_is_sampled(traced: Traced) -> None:
    traced.use(TelemetryPolicy(trace_ppm=1_000_000, otlp_endpoint=EXPORTED.otlp_endpoint))
    sent = await traced.forwarded()
    (span,) = traced.outlets.spans.take(9)
    assert sent == {"traceparent": f"00-{span.trace_id}-{span.span_id}-01"} and span.parent_id == ""


async def test_without_tracing_nothing_is_added(traced: Traced) -> None:
    traced.use(TelemetryPolicy())
    assert await traced.forwarded() == {}
    traced.plain.side.observe(None)
    came = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    assert await traced.forwarded(*came.items(), indexed=True) == came


async def test_tracing_goes_off_under_an_indexed_context(traced: Traced) -> None:
    """What was taken out of the head for the tracer is not lost when there is none any more."""
    traced.use(EXPORTED)
    fields = (*GRPC, ("traceparent", f"00-{TRACE}-{SPAN}-01"))
    caller = await traced.plain.caller()
    caller.headers(1, fields, end=True)
    app = await traced.plain.app.wire()
    await app.asked(1)
    traced.plain.side.observe(None)
    for sid in (3, 5):
        caller.headers(sid, fields, end=True)
    last = (await app.asked(3))[-1]
    assert app.heard(last).blocks[0]["traceparent"] == f"00-{TRACE}-{SPAN}-01"


async def test_secrets_stay_inside(traced: Traced) -> None:
    traced.use(EXPORTED)
    await traced.forwarded(
        ("traceparent", f"00-{TRACE}-{SPAN}-01"), ("authorization", "Bearer s3cret"), ("user-agent", "test")
    )
    (span,) = traced.outlets.spans.take(9)
    headers = dict(span.headers)
    assert headers["authorization"] == REDACTED and headers["user-agent"] == "test"
    assert "s3cret" not in repr(span)


async def test_refused_and_cancelled_requests_have_spans_too(traced: Traced) -> None:
    traced.use(EXPORTED)
    sampled = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    caller, app, sid = await traced.asked(sampled)
    caller.reset(1)
    await until(lambda: app.heard(sid).reset is not None, "the application learns it")
    (span,) = traced.outlets.spans.take(9)
    assert (span.grpc_status, span.http_status, span.failed) == (1, 0, True)
    traced.plain.app.close()
    caller = await traced.plain.caller()
    caller.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, caller.block(GRPC) + literals([sampled])))
    await caller.over(1)
    (span,) = traced.outlets.spans.take(9)
    assert (span.reason, span.http_status) in (("app_unreachable", 200), ("upstream_lost", 200))


@pytest.fixture
async def h1() -> AsyncIterator[Pair]:
    """HTTP/1.1 over both switches, which trace."""
    async with aiohttp_app() as app, pair(app, app_protocol=Protocol.HTTP) as running:
        for engine in (running.web, running.orders):
            engine.swap(dataclasses.replace(engine.snapshot, telemetry=EXPORTED))
        yield running


async def seen(there: Pair, *lines: str) -> dict[str, str]:
    """The fields that say where a request stands in a trace, as the application gets them."""
    head = "".join(
        f"{line}\r\n" for line in ("GET /seen HTTP/1.1", "Host: orders", "Connection: close", *lines)
    )
    answer = await there.ask(f"{head}\r\n".encode())
    fields = json.loads(answer.partition(b"\r\n\r\n")[2])["fields"]
    assert len(dict(fields)) == len(fields)
    return {name: value for name, value in fields if name.encode() in TRACE_CONTEXT}


async def test_http_1_1_is_traced_over_both_hops(h1: Pair) -> None:
    sent = await seen(h1, f"Traceparent: 00-{TRACE}-{SPAN}-01")
    (caller,), (called,) = h1.web.outlets.spans.take(9), h1.orders.outlets.spans.take(9)
    assert (caller.trace_id, caller.parent_id, called.parent_id) == (TRACE, SPAN, caller.span_id)
    assert sent == {"traceparent": f"00-{TRACE}-{called.span_id}-01"}
    assert (called.method, called.path, called.http_status, called.grpc) == ("GET", "/seen", 200, False)
    assert (await seen(h1)).keys() == {"traceparent"}
    assert not h1.web.outlets.spans.take(9)


async def test_b3_in_several_fields_over_http_1_1(h1: Pair) -> None:
    ids = (f"X-B3-TraceId: {TRACE}", f"X-B3-SpanId: {SPAN}")
    sent = await seen(h1, *ids, "X-B3-Sampled: 0")
    assert sent == {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0"}
    assert not h1.web.outlets.spans.take(9)
    sent = await seen(h1, *ids, "X-B3-Sampled: 1")
    (caller,), (called,) = h1.web.outlets.spans.take(9), h1.orders.outlets.spans.take(9)
    assert (caller.parent_id, called.parent_id) == (SPAN, caller.span_id)
    assert sent["x-b3-spanid"] == called.span_id and sent["x-b3-parentspanid"] == caller.span_id


async def test_bytes_that_are_no_requests_pass_as_they_are() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()

    async with raw_app(echo) as app, pair(app, protocol=Protocol.TCP, app_protocol=Protocol.TCP) as there:
        for engine in (there.web, there.orders):
            policy = TelemetryPolicy(trace_ppm=1_000_000, otlp_endpoint=EXPORTED.otlp_endpoint)
            engine.swap(dataclasses.replace(engine.snapshot, telemetry=policy))
        assert await there.ask(b"hello") == b"hello"
        await until(lambda: there.web.outlets.spans.take(9), "the stream is a span")
