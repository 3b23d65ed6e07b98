"""Calls that are cancelled in masses: the connections that others use stand it."""

import pytest

from sidecar.h2 import abuse
from sidecar.h2.connection import NO_LIMIT
from sidecar.h2.errors import ErrorCode
from sidecar.h2.settings import STREAMS_MAX
from sidecar.proxy import downstream, pool, upstream
from sidecar.proxy.upstream import APP_STREAMS_MAX, PEER_RESETS_PER_S, PEER_RESETS_ROLL, RESETS_ROLL
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import HEAD_OK, TRAILERS_OK


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is set apart: all share connections, as many callers that are within bounds do."""
    for bound in ("CROWD", "SHARED_CROWD", "APART_RESETS"):
        monkeypatch.setattr(downstream, bound, NO_LIMIT)


@pytest.mark.usefixtures("together")
async def test_a_caller_that_cancels_does_not_spoil_the_connection_of_all(plain: Plain) -> None:
    """CVE-2023-44487 through a proxy: nghttp2 and Go end a connection on which so many streams are reset. The
    connection is rolled before, and nothing on it is lost."""
    caller, app, sid = await plain.opened()
    other = await plain.caller()
    other.headers(1)
    patient = (await app.asked(2))[1]
    for number in range(1, RESETS_ROLL + 300):
        caller.headers(2 * number + 1)
        caller.reset(2 * number + 1)
    second = await plain.app.wire(1)
    await caller.pinged()
    for wire in plain.app.wires:
        assert sum(heard.reset is not None for heard in wire.streams.values()) <= RESETS_ROLL + 1
    assert not app.closed and not second.goaways
    app.headers(patient, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await other.over(1)).blocks[0]["grpc-status"] == "0"
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await caller.over(1)).blocks[0]["grpc-status"] == "0"


@pytest.mark.usefixtures("together")
async def test_another_connection_is_there_before_one_is_rolled(plain: Plain) -> None:
    """Nobody waits for a handshake because somebody else cancels."""
    caller, app, _ = await plain.opened()
    for number in range(1, RESETS_ROLL // 2 + 1):
        caller.headers(2 * number + 1)
        caller.reset(2 * number + 1)
    await plain.app.wire(1)
    await caller.pinged()
    (endpoint,) = plain.engine.app.endpoints.values()
    await until(lambda: len(endpoint.conns) == 2, "both are ready")
    assert not app.goaways


def test_a_peer_stands_what_is_reset_on_a_connection_before_and_after_its_roll() -> None:
    assert PEER_RESETS_ROLL + STREAMS_MAX <= abuse.RESETS_MAX
    assert PEER_RESETS_PER_S <= abuse.RESETS_PER_S


@pytest.mark.usefixtures("together")
async def test_what_was_under_way_on_cancelled_calls_is_no_abuse(plain: Plain) -> None:
    """Answers that cross with the cancellation of 500 calls end no connection that others use."""
    caller, app, _ = await plain.opened()
    other = await plain.caller()
    other.headers(1)
    patient = (await app.asked(2))[1]
    for number in range(1, 500):
        caller.headers(2 * number + 1, end=True)
    asked = await app.asked(501)
    caller.close()
    await until(lambda: app.heard(asked[-1]).reset is not None, "they are cancelled")
    for sid in asked:
        if sid != patient:
            app.headers(sid, HEAD_OK)
            app.headers(sid, TRAILERS_OK, end=True)
            app.reset(sid, ErrorCode.NO_ERROR)
    app.headers(patient, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await other.over(1)).blocks[0]["grpc-status"] == "0"
    assert not app.goaways or app.goaways[-1] == ErrorCode.NO_ERROR


@pytest.mark.usefixtures("together")
async def test_an_application_gets_few_enough_streams_to_stand_their_cancellation(plain: Plain) -> None:
    """nghttp2 and Node stand a thousand resets at once on one connection; a caller may have 2048 open."""
    caller, app, _ = await plain.opened()
    for number in range(1, APP_STREAMS_MAX + 10):
        caller.headers(2 * number + 1, end=True)
    second = await plain.app.wire(1)
    assert len(await second.asked(10)) == 10 and len(app.requests()) == APP_STREAMS_MAX
    assert APP_STREAMS_MAX + RESETS_ROLL < 1000


async def test_what_waits_is_not_sent_on_once_its_caller_has_gone(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "APP_STREAMS_MAX", 1)
    monkeypatch.setattr(pool, "CONNECTIONS_PER_INSTANCE_MAX", 1)
    caller, app, sid = await plain.opened()
    for number in range(1, 5):
        caller.headers(2 * number + 1, end=True)
    await caller.pinged()
    caller.close()
    await until(lambda: app.heard(sid).reset is not None, "the application learns that it has gone")
    other = await plain.caller()
    other.headers(1, end=True)
    await app.asked(2)
    assert len(app.requests()) == 2
