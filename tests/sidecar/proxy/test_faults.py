"""Faults on purpose, on the real listener: only on what they match, only for as long as they last."""

from typing import Any

import pytest

from sidecar.admission import Abort, Delay, Fault
from sidecar.h2.errors import ErrorCode
from sidecar.h2.settings import STREAM_WINDOW_BYTES
from sidecar.traffic import HttpMatch
from tests.support.scripted import get, grpc
from tests.support.service import Service, allow, deny, prefix, rule
from tests.support.waiting import until
from tests.support.wire import HEAD_OK, TRAILERS_OK, Wire

EVERYBODY = rule(source="*")
ALWAYS, FOREVER = 1_000_000, 4e9
LONG = Delay(fixed_s=60.0)
SHORT = Delay(fixed_s=0.01)


def fault(ppm: int = ALWAYS, match: HttpMatch | None = None, ends_s: float = FOREVER, **what: Any) -> Fault:
    return Fault("slow", ppm, match, ends_s=ends_s, **what)


async def test_an_abort_is_answered_instead_of_the_application(service: Service) -> None:
    service.configure(EVERYBODY, faults=(fault(abort=Abort(418, 14)),))
    calls = await service.caller()
    head = (await calls.make(get())).blocks[0]
    assert (head[":status"], head["x-weft-reason"]) == ("418", "fault")
    trailers = (await calls.make(grpc())).blocks[0]
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("14", "weft: fault injected by slow")
    assert not service.app.seen
    counts = service.engine.telemetry.all_counts
    assert {count.labels: count.value for it in counts for count in counts[it].values()}["web", "slow"] == 2


async def test_failures_on_purpose_are_counted_apart(service: Service) -> None:
    """Of gRPC calls those with a status that says so, of others from 500, at once or after a delay."""
    series = service.engine.telemetry.all_series

    async def counted(**what: Any) -> int:
        before = sum(it.injected for it in series.values())
        service.configure(EVERYBODY, faults=(fault(**what),))
        calls = await service.caller()
        for fields in (get(), grpc()):
            await calls.make(fields)
        return sum(it.injected for it in series.values()) - before

    assert await counted(abort=Abort(503, 14)) == 2
    assert await counted(abort=Abort(404, 14), delay=SHORT) == 1
    assert await counted(abort=Abort(404, 5)) == 0
    assert await counted(reset=True) == 2
    assert await counted(delay=SHORT) == 0


async def test_a_reset_is_a_reset(service: Service) -> None:
    service.configure(EVERYBODY, faults=(fault(reset=True),))
    calls = await service.caller()
    assert (await calls.make(grpc())).reset == ErrorCode.INTERNAL_ERROR
    assert not service.app.seen


async def test_a_fault_is_for_what_it_matches_and_its_share_is_drawn_for_each(service: Service) -> None:
    match = HttpMatch(methods=("GET",), sources=("web",))
    service.configure(EVERYBODY, faults=(fault(500_000, match, abort=Abort(503, 14)),))
    web, billing = await service.caller(), await service.caller("billing")
    statuses = [await web.status(get()) for _ in range(100)]
    assert 20 < statuses.count("503") < 80
    assert {await billing.status(get()) for _ in range(20)} == {"0"}
    assert {await web.status(grpc()) for _ in range(20)} == {"0"}


async def test_it_ends_by_itself(service: Service) -> None:
    """Nobody tells the sidecar anything."""
    ends_s = service.mesh.clock.wall() + 100
    service.configure(EVERYBODY, faults=(fault(abort=Abort(503, 14), ends_s=ends_s),))
    calls = await service.caller()
    assert await calls.status(get()) == "503"
    service.mesh.clock.ahead_s = 101
    assert await calls.status(get()) == "0"


async def test_a_delay_holds_the_request_and_its_body_and_then_it_goes(service: Service) -> None:
    service.configure(EVERYBODY, faults=(fault(delay=SHORT),))
    calls = await service.caller()
    clock = service.mesh.clock
    began = clock.monotonic()
    many = await calls.many(20, body=b"x" * 1000)
    assert clock.monotonic() - began >= SHORT.fixed_s
    assert all(heard.blocks[-1]["grpc-status"] == "0" for heard in many)
    assert [heard.data for heard in service.app.seen] == [b"x" * 1000] * 20
    assert service.engine.outbox.held == 0


@pytest.mark.parametrize("what", [{"abort": Abort(503, 14)}, {"reset": True}], ids=["abort", "reset"])
async def test_a_delay_comes_before_an_abort(service: Service, what: dict[str, Any]) -> None:
    service.configure(EVERYBODY, faults=(fault(delay=SHORT, **what),))
    calls = await service.caller()
    heard = await calls.make(grpc())
    assert (
        heard.reset == ErrorCode.INTERNAL_ERROR if "reset" in what else heard.blocks[0]["grpc-status"] == "14"
    )
    assert not service.app.seen and service.engine.outbox.held == 0


async def test_trap_18_a_request_that_is_held_can_be_denied_or_cancelled(service: Service) -> None:
    service.configure(EVERYBODY, faults=(fault(delay=LONG),))
    calls = await service.caller()
    cancelled, denied = calls.begin(grpc("/a/b")), calls.begin(grpc("/c/d"))
    await until(lambda: service.engine.outbox.held, "both are held")
    calls.wire.reset(cancelled, ErrorCode.CANCEL)
    service.configure(rule(deny(prefix("/c")), allow()), faults=(fault(delay=LONG),))
    assert (await calls.wire.over(denied)).blocks[0]["grpc-status"] == "7"
    await calls.wire.pinged()
    assert service.engine.outbox.held == 0
    assert not service.app.seen


async def test_an_answer_is_no_faster_than_the_limit_and_whole(service: Service) -> None:
    """Its trailers come behind it; others go on meanwhile, and the application's head at once."""
    body = bytes(range(256)) * 16

    def answer(wire: Wire, sid: int) -> None:
        wire.headers(sid, HEAD_OK)
        for at in range(0, len(body), 1000):
            wire.data(sid, body[at : at + 1000])
        wire.headers(sid, TRAILERS_OK, end=True)

    service.app.answer = answer
    service.configure(EVERYBODY, faults=(fault(match=prefix("/slow"), bytes_per_second=16_384),))
    calls = await service.caller()
    clock = service.mesh.clock
    began = clock.monotonic()
    slow = calls.begin(grpc("/slow/m"))
    heard = calls.wire.heard(slow)
    await until(lambda: heard.blocks, "the head comes")
    assert (await calls.make(grpc("/fast/m"))).data == body
    assert not heard.ended
    assert (await calls.wire.over(slow)).data == body
    assert clock.monotonic() - began >= 0.2  # 4096 bytes, of which a tenth of a second's may be there at once
    assert heard.frames > 3 and heard.blocks[-1]["grpc-status"] == "0"
    assert service.engine.outbox.held == 0


async def test_trap_15_a_slow_answer_holds_no_more_than_a_window(service: Service) -> None:
    service.app.answer = _flood
    service.configure(EVERYBODY, faults=(fault(bytes_per_second=1000),))
    calls = await service.caller()
    sid = calls.begin(grpc())
    await until(lambda: service.engine.outbox.held, "some waits")
    await calls.wire.pinged()
    assert service.engine.outbox.held <= STREAM_WINDOW_BYTES
    service.configure(rule(source="shop"))
    assert (await calls.wire.over(sid)).blocks[-1]["grpc-status"] == "7"
    assert service.engine.outbox.held == 0


def _flood(wire: Wire, sid: int) -> None:
    wire.headers(sid, HEAD_OK)
    for _ in range(STREAM_WINDOW_BYTES // 1000):  # what the window lets it send
        wire.data(sid, bytes(1000))


async def test_what_is_refused_is_no_subject_of_experiments(service: Service) -> None:
    service.configure(rule(source="shop"), faults=(fault(delay=LONG),))
    assert await (await service.caller()).status(get()) == "403"


async def test_a_fault_that_is_withdrawn_is_over_at_once(service: Service) -> None:
    service.configure(EVERYBODY, faults=(fault(abort=Abort(503, 14)),))
    calls = await service.caller()
    assert await calls.status(get()) == "503"
    service.configure(EVERYBODY)
    assert await calls.status(get()) == "0"
