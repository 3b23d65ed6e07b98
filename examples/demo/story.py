"""The story, step by step. Each step raises StepFailed unless what it tells came true."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from examples.pb.shop.v1 import shop_pb2, shop_pb2_grpc
from weft.aio import Tasks

from . import wire
from .errors import StepFailed
from .mesh import Mesh
from .narrator import Narrator
from .ports import HOST
from .registry import Registry
from .traffic import OK, Outcome, Traffic, failures, only_from, tally

INSTANCES = 3
SAMPLE_CALLS = 120
"""So many calls in a row say who is in the pool: that an instance in it gets none of them has a
probability far below one in a million."""
DENY_DEADLINE_S = 1.0
SETTLE_DEADLINE_S = 20.0
DENIED = grpc.StatusCode.PERMISSION_DENIED


class Story:
    """The steps share one mesh and one stream of customers."""

    def __init__(self, mesh: Mesh, narrator: Narrator, tasks: Tasks) -> None:
        self._mesh = mesh
        self._tell = narrator
        self._tasks = tasks
        self._channel: grpc.aio.Channel | None = None
        self._stub: shop_pb2_grpc.WebAsyncStub
        self._traffic: Traffic

    async def close(self) -> None:
        """The customers go home."""
        await self._tasks.close()
        if self._channel:
            await self._channel.close(None)

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        return [
            ("Services are registered", self.services_are_registered),
            ("Calls flow from web to three instances of orders", self.calls_flow),
            ("The wire is mTLS", self.the_wire_is_mtls),
            ("An intention denies web -> orders, and allows it again", self.an_intention_denies),
            ("One instance is killed, another answers UNAVAILABLE", self.instances_fail),
            ("Both return", self.instances_return),
        ]

    async def services_are_registered(self) -> None:
        with self._tell.waiting("starting the registry and its CA (weft dev)"):
            await self._mesh.start_registry()
        self._tell.say(f"registry: HTTP API http://{self._registry.http}, gRPC {self._mesh.grpc_address}")
        with self._tell.waiting("starting 4 applications and 4 sidecars, each a process of its own"):
            await self._mesh.start_services(INSTANCES)
        services = await asyncio.to_thread(self._registry.services)
        if not {"web", "orders"} <= set(services):
            raise StepFailed(f"the catalog holds only {services}")
        for instance in (*self._mesh.orders, self._mesh.web):
            self._tell.say(
                f"{instance.id}: application {HOST}:{instance.app_port}, mTLS {HOST}:{instance.public_port}"
            )
        passing = await asyncio.to_thread(self._registry.passing, "orders")
        self._tell.proved(f"in the catalog: {', '.join(services)}; healthy: {', '.join(passing)}")

    async def calls_flow(self) -> None:
        await self._intend("allow")
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{self._mesh.web.app_port}")
        self._stub = shop_pb2_grpc.WebStub(self._channel)
        self._traffic = Traffic(self._stub, self._tasks)
        self._traffic.start()
        with self._tell.waiting("customers call web, web calls orders"):
            calls = await self._answered_by_all()
        self._tell.proved(f"{len(calls)} calls, answered by: {tally(calls)}")

    async def the_wire_is_mtls(self) -> None:
        target = self._mesh.orders[0]
        if wire.is_answer(await asyncio.to_thread(wire.answer_to_plaintext, target.public_port)):
            raise StepFailed(f"{target.id} answered plaintext HTTP/2 on its public port")
        self._tell.proved(f"plaintext to {target.id}'s public port: refused")
        roots = await asyncio.to_thread(self._registry.roots_pem)
        try:
            identity, answer, why = await asyncio.to_thread(
                wire.answer_to_stranger, target.public_port, roots
            )
        except ssl.SSLError as error:
            raise StepFailed(f"{target.id} shows a certificate that the mesh's CA did not issue") from error
        if not identity.endswith("/svc/orders"):
            raise StepFailed(f"{target.id} shows itself as {identity}")
        self._tell.proved(f"it proves to be {identity}, issued by the mesh's CA")
        if answer:
            raise StepFailed(f"{target.id} talked to a client without a certificate")
        self._tell.proved(f"a client without a certificate: refused ({why}), not one byte of an answer")
        leaf = await asyncio.to_thread(self._registry.leaf, "web")
        if not await asyncio.to_thread(wire.greets, target.public_port, roots, *leaf):
            raise StepFailed(f"{target.id} refused a client with a certificate of web")
        self._tell.proved("a client with a certificate of web: greeted")

    async def an_intention_denies(self) -> None:
        stream = self._stub.Follow(shop_pb2.WatchRequest(interval_ms=50))
        ticks = aiter(stream)
        if not (await anext(ticks)).number:
            raise StepFailed("the stream through web to orders says nothing")
        self._tell.say("a stream web -> orders is open and calls go on; now: deny")
        mark, start = self._traffic.mark(), time.monotonic()
        await self._intend("deny")
        stream_s = await self._stream_ends_denied(ticks, start)
        calls = await self._traffic.until(
            lambda calls: all(call.status is DENIED for call in calls[-20:]) and len(calls) >= 20,
            mark,
            "calls end with PERMISSION_DENIED",
            SETTLE_DEADLINE_S,
        )
        last_ok_s = max((call.ended - start for call in calls if call.status is OK), default=0.0)
        self._deny_was_quick("the open stream ended", stream_s)
        self._deny_was_quick("the last call went through", last_ok_s)
        if others := [call for call in calls if call.status not in (OK, DENIED)]:
            raise StepFailed(f"calls failed otherwise: {tally(others)}")
        mark, start = self._traffic.mark(), time.monotonic()
        await self._intend("allow")
        calls = await self._traffic.until(
            lambda calls: bool(calls) and not failures(calls[-20:]) and len(calls) >= 20,
            mark,
            "calls go through again",
            SETTLE_DEADLINE_S,
        )
        first_ok_s = min(call.ended for call in calls if call.status is OK) - start
        self._tell.proved(f"allow: the first call went through {first_ok_s * 1000:.0f} ms later")

    async def instances_fail(self) -> None:
        _, killed, broken = self._mesh.orders
        survivors = {self._mesh.orders[0].id}
        mark = self._traffic.mark()
        self._mesh.kill(killed)
        self._tell.say(f"{killed.id}: application and sidecar killed (SIGKILL)")
        calls = await self._leave(mark, survivors | {broken.id}, killed.id)
        self._tell.proved(f"{killed.id} left the pool; failed calls: {_failed(calls)}")
        await self._mesh.wait_passing(survivors | {broken.id})
        self._tell.proved(f"the registry's health check has noticed too: {killed.id} is critical")

        mark = self._traffic.mark()
        await self._set_unavailable(broken.app_port, True)
        self._tell.say(f"{broken.id}: answers every call with UNAVAILABLE, but says it is healthy")
        calls = await self._leave(mark, survivors, broken.id)
        self._tell.proved(f"{broken.id} was ejected; failed calls: {_failed(calls)}")
        self._tell.proved(f"the last {SAMPLE_CALLS} calls: {tally(calls[-SAMPLE_CALLS:])}, none failed")

    async def instances_return(self) -> None:
        _, killed, broken = self._mesh.orders
        mark = self._traffic.mark()
        await self._set_unavailable(broken.app_port, False)
        self._mesh.revive(killed)
        with self._tell.waiting("waiting for the health check and for the ejection to end"):
            await self._mesh.wait_ready(killed)
            await self._mesh.wait_passing({instance.id for instance in self._mesh.orders})
            calls = await self._answered_by_all()
        self._tell.proved(f"{len(calls)} calls, answered by: {tally(calls)}")
        self._tell.say(f"failed calls on the way: {_failed(self._traffic.since(mark))}")

    async def _answered_by_all(self) -> list[Outcome]:
        """A sample of calls once every instance answers."""
        everyone = {instance.id for instance in self._mesh.orders}
        all_answer, what = only_from(everyone, SAMPLE_CALLS), "calls answered by all instances"
        await self._traffic.until(all_answer, self._traffic.mark(), what, SETTLE_DEADLINE_S)
        # Those went where a connection stood first; the next ones show the balance.
        return await self._traffic.until(all_answer, self._traffic.mark(), what, SETTLE_DEADLINE_S)

    @property
    def _registry(self) -> Registry:
        return self._mesh.registry

    async def _intend(self, action: str) -> None:
        await asyncio.to_thread(self._registry.intend, "web", "orders", action)

    async def _stream_ends_denied(self, ticks: AsyncIterator[shop_pb2.Tick], start: float) -> float:
        """Seconds from `start` until the stream ended with PERMISSION_DENIED."""
        try:
            async with asyncio.timeout(SETTLE_DEADLINE_S):
                async for _ in ticks:
                    pass
        except grpc.aio.AioRpcError as error:
            if error.code() is DENIED:
                return time.monotonic() - start
            raise StepFailed(f"the open stream ended with {error.code().name}: {error.details()}") from error
        except TimeoutError as error:
            raise StepFailed(f"the stream stayed open for {SETTLE_DEADLINE_S:g} s after the deny") from error
        raise StepFailed("the open stream ended with OK")

    def _deny_was_quick(self, what: str, seconds: float) -> None:
        if seconds > DENY_DEADLINE_S:
            raise StepFailed(f"{what} {seconds:.2f} s after the deny; {DENY_DEADLINE_S:g} s is the limit")
        self._tell.proved(f"deny: {what} {seconds * 1000:.0f} ms later")

    async def _leave(self, mark: int, remaining: set[str], leaver: str) -> list[Outcome]:
        with self._tell.waiting(f"calls go on until {leaver} gets none of {SAMPLE_CALLS} in a row"):
            return await self._traffic.until(
                only_from(remaining, SAMPLE_CALLS), mark, f"{leaver} leaves the pool", SETTLE_DEADLINE_S
            )

    @staticmethod
    async def _set_unavailable(port: int, unavailable: bool) -> None:
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            await shop_pb2_grpc.FaultsStub(channel).Set(shop_pb2.FaultsRequest(unavailable=unavailable))


def _failed(calls: list[Outcome]) -> str:
    failed = failures(calls)
    return f"{len(failed)} of {len(calls)}" + (f" ({tally(failed)})" if failed else "")
