"""The application is asked by its own sidecar, and peers are sent elsewhere while it is not well."""

import asyncio
import dataclasses

import pytest

from sidecar.snapshot import AppPolicy
from sidecar.traffic import HealthCheck, ProbeKind
from tests.sidecar.proxy.test_targets import health
from tests.support.scripted import Calls, Peer, get, grpc, serves, silent, status_of
from tests.support.service import Service
from tests.support.switch import Mesh, inbound_port, outbound_port
from tests.support.waiting import until
from tests.support.wire import dial

REFUSED_STREAM = 7


def check(kind: ProbeKind = ProbeKind.HTTP, **settings: float) -> HealthCheck:
    what = {ProbeKind.HTTP: "/health", ProbeKind.GRPC: "s", ProbeKind.TCP: ""}[kind]
    return HealthCheck(kind, what, 0.02, **{"timeout_s": 5.0, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ProbeKind.HTTP, ProbeKind.GRPC])
async def test_while_the_application_is_sick_peers_are_sent_elsewhere(
    service: Service, kind: ProbeKind
) -> None:
    well = [False]
    service.app.answer = health(well, kind, 0)
    service.change(app_policy=AppPolicy(checks=(check(kind),)))
    calls = await service.caller()
    await until(service.engine.trouble, "it is found out")
    asked = len(service.app.seen)
    for fields in (get(), grpc()):
        assert (await calls.make(fields)).reset == REFUSED_STREAM  # nothing was done: safe to send elsewhere
    assert not any(head[":path"] in ("/", "/s/m") for head in service.app.heads[asked:])
    series = service.engine.telemetry.all_series.values()
    assert sum(it.errors.get("app_unhealthy", 0) for it in series) == 2
    well[0] = True
    await until(lambda: not service.engine.trouble(), "it is well again")
    assert status_of(await calls.make(get())) == "0"


async def test_callers_go_to_another_instance_and_see_nothing_of_it(mesh: Mesh) -> None:
    """REFUSED_STREAM is retried at once, counts against the instance, and it is left out."""
    well = [[False], [True]]
    apps = [await Peer(mesh, health(it, ProbeKind.HTTP, n), plain=True).start() for n, it in enumerate(well)]
    engines = []
    for app in apps:
        snapshot = mesh.snapshot("orders")
        address = dataclasses.replace(snapshot.inbound.app, port=app.port)
        policy = AppPolicy(checks=(check(),))
        inbound = dataclasses.replace(snapshot.inbound, app=address, app_policy=policy)
        engines.append(await mesh.engine(dataclasses.replace(snapshot, inbound=inbound)))
    await until(engines[0].trouble, "the first is found out")
    web = await mesh.engine(mesh.snapshot("web", upstreams=[mesh.upstream("orders", engines)]))
    wire = await dial(outbound_port(web))
    calls = Calls(wire)
    assert {heard.data for heard in [await calls.make(grpc()) for _ in range(60)]} == {b"1"}
    (pool,) = web.pools.values()
    assert pool.series.ejected == 1
    wire.close()
    for app in apps:
        app.close()


async def test_streams_that_are_open_go_on(service: Service) -> None:
    service.app.answer = silent
    calls = await service.caller()
    sid = calls.begin(grpc())
    behind = await service.app.wire()
    await behind.asked(1)
    service.change(app_policy=AppPolicy(checks=(check(timeout_s=0.05),)))
    await until(service.engine.trouble, "it is found out")
    serves("late")(behind, behind.requests()[0])
    assert (await calls.wire.over(sid)).data == b"late"


async def test_a_connection_can_be_the_question_and_all_checks_must_pass(service: Service) -> None:
    service.app.answer = health([True], ProbeKind.HTTP, 0)
    service.change(app_policy=AppPolicy(checks=(check(), check(ProbeKind.TCP))))
    await until(lambda: len(service.app.seen) > 3 and len(service.app.wires) > 3, "both are asked")
    assert service.engine.trouble() == ""
    service.app.close()
    await until(lambda: "tcp" in service.engine.trouble(), "it is gone")
    assert service.engine.trouble() == "application unhealthy: http /health, tcp"
    service.change(app_policy=AppPolicy())
    assert service.engine.trouble() == ""  # nobody is sick where nobody asks


async def test_checks_end_with_the_engine(service: Service) -> None:
    service.app.answer = silent
    service.change(app_policy=AppPolicy(checks=(check(),)))
    await until(lambda: service.app.seen, "a question")
    await asyncio.wait_for(service.engine.close(), 5)
    assert service.engine.outbox.held == 0
    service.mesh.engines.remove(service.engine)


async def test_the_inbound_port_stays_open(service: Service) -> None:
    """What asks only for a connection is told by `/ready`, not by a closed door: streams go on behind it."""
    service.app.answer = health([False], ProbeKind.HTTP, 0)
    service.change(app_policy=AppPolicy(checks=(check(),)))
    await until(service.engine.trouble, "it is found out")
    _, writer = await asyncio.open_connection("127.0.0.1", inbound_port(service.engine))
    writer.close()
