"""Faults on purpose, on the real listener: only on what they match, only for as long as they last."""

from typing import Any

import pytest

from sidecar.admission import Abort, Delay, Fault
from sidecar.h2.errors import ErrorCode
from sidecar.traffic import HttpMatch
from tests.support.scripted import get, grpc
from tests.support.service import Service, allow, deny, prefix, rule
from tests.support.waiting import until

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


async def test_what_is_refused_is_no_subject_of_experiments(service: Service) -> None:
    service.configure(rule(source="shop"), faults=(fault(delay=LONG),))
    assert await (await service.caller()).status(get()) == "403"


async def test_a_fault_that_is_withdrawn_is_over_at_once(service: Service) -> None:
    service.configure(EVERYBODY, faults=(fault(abort=Abort(503, 14)),))
    calls = await service.caller()
    assert await calls.status(get()) == "503"
    service.configure(EVERYBODY)
    assert await calls.status(get()) == "0"
