"""The life of a sidecar against a registry: start, change, loss, rejection, end. The switch is a record."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.app import Sidecar
from sidecar.config import SidecarConfig
from sidecar.errors import CredentialRejected
from sidecar.identity import TlsContexts
from sidecar.outlets import Outlets
from sidecar.snapshot import Snapshot
from sidecar.sockets import Binder
from sidecar.telemetry import Telemetry
from tests.support import resources as make
from tests.support.fake_registry import FakeRegistry
from tests.support.pki import Domain
from tests.support.waiting import until
from weft.clock import SystemClock
from weft.errors import PortTaken


@dataclass
class RecordedSwitch:
    """What the shell told the switch, in order."""

    told: list[Any] = field(default_factory=list)
    snapshot: Snapshot | None = None
    tls: TlsContexts | None = None
    fails: Exception | None = None
    ailing: str = ""  # what is wrong with the application
    finish: asyncio.Event = field(default_factory=asyncio.Event)  # streams that a drain waits for

    def make(
        self, snapshot: Snapshot, tls: TlsContexts, telemetry: Telemetry, outlets: Outlets, _: Binder
    ) -> "RecordedSwitch":
        self.snapshot, self.tls = snapshot, tls
        return self

    async def start(self) -> None:
        self.told.append("start")
        if self.fails:
            raise self.fails

    def swap(self, snapshot: Snapshot) -> None:
        self.told.append("swap")
        self.snapshot = snapshot

    def rotate(self, tls: TlsContexts) -> None:
        self.told.append("rotate")
        self.tls = tls

    async def drain(self, grace_s: float) -> None:
        self.told.append(("drain", grace_s))
        if grace_s:
            await self.finish.wait()

    def trouble(self) -> str:
        return self.ailing

    async def refresh(self) -> None:
        self.told.append("refresh")

    def status(self) -> dict[str, Any]:
        return {"told": list(self.told)}


@dataclass
class Running:
    """One sidecar under test."""

    sidecar: Sidecar
    switch: RecordedSwitch
    task: asyncio.Task[None]
    ready_file: Path

    async def ready(self) -> None:
        await until(lambda: self.ready_file.exists() or self.task.done(), "the sidecar is ready")
        if self.task.done():
            await self.task

    async def get(self, path: str) -> tuple[int, bytes]:
        host, _, port = json.loads(self.ready_file.read_text())["admin"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body

    async def told(self, what: Any, times: int = 1) -> None:
        await until(lambda: self.switch.told.count(what) >= times, f"the switch is told {what}")


@pytest.fixture
def start(registry: FakeRegistry, tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def starting(switch: RecordedSwitch | None = None, state: bool = False) -> AsyncIterator[Running]:
        recorded = switch or RecordedSwitch()
        ready_file = tmp_path / "ready"
        ready_file.unlink(missing_ok=True)
        config = SidecarConfig(
            credential=registry.credential_file(tmp_path),
            state_dir=tmp_path / "state" if state else None,
            ready_file=ready_file,
            drain_timeout_s=7.0,
        )
        sidecar = Sidecar(config, SystemClock(), random.Random(1), recorded.make)
        running = Running(sidecar, recorded, asyncio.ensure_future(sidecar.run()), ready_file)
        try:
            yield running
        finally:
            recorded.finish.set()
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)

    return starting


async def test_it_starts_serves_and_drains(start: Callable[..., Any]) -> None:
    async with start() as running:
        await running.ready()
        assert running.switch.told == ["start"]
        assert (await running.get("/ready"))[0] == 200
        signal.raise_signal(signal.SIGTERM)
        await running.told(("drain", 7.0))
        status, body = await running.get("/ready")
        assert (status, json.loads(body)["reason"]) == (503, "draining")
        running.switch.finish.set()
        assert await running.task is None


async def test_a_second_signal_ends_the_drain(start: Callable[..., Any]) -> None:
    async with start() as running:
        await running.ready()
        signal.raise_signal(signal.SIGTERM)
        await running.told(("drain", 7.0))
        signal.raise_signal(signal.SIGINT)
        assert await running.task is None


async def test_a_delta_swaps_and_a_new_bundle_rotates_first(
    start: Callable[..., Any], registry: FakeRegistry
) -> None:
    async with start() as running:
        await running.ready()
        registry.push(make.endpoints(ports=(21000,)))
        await running.told("swap")
        assert running.switch.told == ["start", "swap"]
        registry.push(make.bundle(trust_domain="dc2.weft"))
        await running.told("swap", 2)
        registry.push(make.revocations(7, 8))
        await running.told("swap", 3)
        assert running.switch.told[2:] == ["rotate", "swap", "rotate", "swap"]


async def test_a_new_certificate_rotates(start: Callable[..., Any], registry: FakeRegistry) -> None:
    registry.leaf_ttl = timedelta(seconds=10)
    async with start() as running:
        await running.ready()
        first = running.switch.tls
        await running.told("rotate")  # due after a third to half of ten seconds
        assert first and running.switch.tls
        assert running.switch.tls.not_after > first.not_after
        assert b"weft_certificate_renewals_total 2.0" in (await running.get("/metrics"))[1]


async def test_it_serves_on_when_the_registry_is_gone(
    start: Callable[..., Any], registry: FakeRegistry
) -> None:
    async with start() as running:
        await running.ready()
        assert b"weft_registry_connected 1.0" in (await running.get("/metrics"))[1]
        await registry.stop()

        async def lost() -> bool:
            return b"weft_registry_connected 0.0" in (await running.get("/metrics"))[1]

        await until(lost, "the loss shows")
        assert (await running.get("/ready"))[0] == 200
        await registry.start()
        registry.push(make.endpoints(ports=(21000,)))
        await running.told("swap")


async def test_it_waits_for_a_registry_that_comes_later(
    start: Callable[..., Any], registry: FakeRegistry
) -> None:
    await registry.stop()
    async with start() as running:
        await until(lambda: running.sidecar._telemetry.certificate_failures, "an attempt fails")
        assert not running.switch.told
        await registry.start()
        await running.ready()


async def test_trap_04_a_withdrawn_credential_stops_it_at_once(
    start: Callable[..., Any], registry: FakeRegistry, tmp_path: Path
) -> None:
    """Nothing stays on disk that could serve again."""
    async with start(state=True) as running:
        await running.ready()
        await until(lambda: (tmp_path / "state" / "config").exists(), "the state is saved")
        await registry.revoke()
        with pytest.raises(CredentialRejected, match="register the service again"):
            await running.task
        assert running.switch.told[-1] == ("drain", 0.0)
        assert not list((tmp_path / "state").iterdir())


async def test_it_starts_from_its_cache_while_the_registry_is_down(
    start: Callable[..., Any], registry: FakeRegistry
) -> None:
    async with start(state=True) as running:
        await running.ready()
        running.switch.finish.set()
        running.sidecar.stop()
        await running.task
        saved = running.switch.tls
    await registry.stop()
    async with start(state=True) as running:
        await running.ready()
        assert running.switch.told == ["start"]
        assert running.switch.tls and saved
        assert running.switch.tls.not_after == saved.not_after
        assert b"weft_config_index 10.0" in (await running.get("/metrics"))[1]
        assert (await running.get("/ready"))[0] == 200
        await registry.start()
        await running.told("rotate")  # a cached certificate is due at once
        await running.told("swap")


async def test_a_configuration_for_another_identity_is_refused(
    start: Callable[..., Any], registry: FakeRegistry
) -> None:
    async with start() as running:
        await running.ready()
        other = make.proxy()
        other.proxy.service, other.proxy.spiffe_id = "admin", make.spiffe_id("admin")
        registry.push(other)
        await until(lambda: len(registry.heard.acks) == 2, "it is answered")
        assert "our certificate says" in registry.heard.acks[1].error
        assert running.switch.told == ["start"]


async def test_a_listener_that_cannot_bind_ends_it(start: Callable[..., Any]) -> None:
    async with start(RecordedSwitch(fails=PortTaken("127.0.0.1:20000 is taken"))) as running:
        with pytest.raises(PortTaken, match="is taken"):
            await running.task


async def test_config_shows_what_is_served_and_no_secret(
    start: Callable[..., Any], registry: FakeRegistry
) -> None:
    async with start() as running:
        await running.ready()
        status, body = await running.get("/config")
        shown = json.loads(body)
        assert status == 200
        assert shown["instance"] == make.WEB_KEY
        assert shown["certificate"]["spiffe_id"] == registry.identity.uri
        assert (
            shown["snapshot"]["targets"][make.target_id("orders")]["instances"][0]["address"]
            == "127.0.0.1:21000"
        )
        assert shown["switch"] == {"told": ["start"]}
        assert registry.secret.encode() not in body and b"PRIVATE" not in body


async def test_an_expired_certificate_is_not_ready(start: Callable[..., Any], registry: FakeRegistry) -> None:
    async with start() as running:
        await running.ready()
        serving = running.sidecar._serving
        serving.svid = replace(serving.svid, not_after=0.0)
        status, body = await running.get("/ready")
        assert (status, json.loads(body)["reason"]) == (503, "certificate expired")


async def test_an_application_that_is_not_well_is_not_ready(start: Callable[..., Any]) -> None:
    async with start() as running:
        await running.ready()
        running.switch.ailing = "application unhealthy: http /health"
        status, body = await running.get("/ready")
        assert (status, json.loads(body)["reason"]) == (503, "application unhealthy: http /health")


async def test_a_root_that_replaces_ours_rotates(start: Callable[..., Any], registry: FakeRegistry) -> None:
    async with start() as running:
        await running.ready()
        before = running.switch.tls
        registry.push(make.bundle(registry.domain.root_der, Domain(make.TRUST_DOMAIN).root_der))
        await running.told("rotate")
        assert running.switch.tls is not before
