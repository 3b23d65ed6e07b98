"""The composition root of `weft sidecar`: one service instance, from its credential to the last stream.

Start: credential, certificate, first snapshot, switch, ready. Then each delta swaps the snapshot and each
new certificate rotates the contexts. SIGTERM drains and ends with 0; a withdrawn credential ends at once.
"""

import asyncio
import json
import random
import signal
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from weft import credential as credentials
from weft import systemd
from weft.aio import Tasks
from weft.clock import Clock, SystemClock
from weft.errors import EnvironmentProblem

from . import memory
from .admin import Admin
from .config import SidecarConfig
from .draining import DrainReports
from .errors import CredentialRejected, RegistryUnreachable
from .handover import Handover, Inheritance, inherit
from .identity import Identity, Svid, TlsContexts
from .observe import Observer
from .outlets import Outlets
from .pages import Pages
from .policy.compile import compile_snapshot
from .policy.renewal import backoff_s
from .reporting import Reporting
from .serving import MakeSwitch, Serving, Switch, frame_switch
from .session import Session
from .snapshot import Snapshot
from .sockets import Binder, Sockets
from .state import StateDir, StateWriter
from .subscribe import Resources, Subscription, version_of
from .successor import Successor
from .tapping import Feed, tapped
from .telemetry import Telemetry

if TYPE_CHECKING:
    from .workers import WorkerPool

# With a cached state at hand, the registry gets this long to answer before the cache is served.
CACHE_PATIENCE_S = 3.0
UNASKED_S = 10.0  # for the registry to tell what the predecessor listened for

log = structlog.get_logger(__name__)


def run(config: SidecarConfig) -> None:
    """Runs a sidecar on uvloop until SIGTERM or SIGINT. Raises WeftError."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        make_switch = frame_switch if config.workers == 1 else partial(workers_switch, config)
        runner.run(Sidecar(config, SystemClock(), random.Random(), make_switch).run())


def workers_switch(
    config: SidecarConfig,
    snapshot: Snapshot,
    tls: TlsContexts,
    telemetry: Telemetry,
    _outlets: Outlets,
    sockets: Binder,
) -> Switch:
    """The data path in processes of its own."""
    from .workers import WorkerPool

    assert isinstance(sockets, Sockets)  # ours, for the type checker
    style = config.log_level, config.log_format
    return WorkerPool(config.workers, style, snapshot, tls, telemetry, sockets)


class Sidecar:
    """Raises ConfigError on an unusable credential, DataDirProblem on an unusable state directory."""

    def __init__(
        self, config: SidecarConfig, clock: Clock, rng: random.Random, make_switch: MakeSwitch
    ) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._credential = credentials.load(config.credential)
        key = self._credential.instance_key
        self._state = StateDir(config.state_dir, key) if config.state_dir else None
        self._writer = StateWriter(self._state) if self._state else None
        self._telemetry = Telemetry()
        self._session = Session(self._credential, config.registry)
        self._identity = Identity(self._session.sign, clock, rng, self._telemetry)
        self._outlets = Outlets(self._telemetry, clock)
        self._inheritance = self._inherit()
        inherited = self._inheritance.sockets if self._inheritance else ()
        self._sockets = Sockets(config.workers, inherited)
        self._successor = Successor()
        self._handover: Handover | None = None
        self._serving = Serving(make_switch, self._telemetry, self._outlets, clock, self._sockets)
        self._pages = Pages(key, self._serving, self._telemetry)
        self._admin = Admin(
            {"/ready": self._pages.ready, "/metrics": self._pages.metrics, "/config": self._pages.config},
            {"/tap": self._tapped},
        )
        self._tasks = Tasks()
        self._reporting = Reporting(self._outlets, self._telemetry, self._spawn)
        self._drain_reports = DrainReports(self._telemetry, self._session.tell)
        self._asked = 0  # how often we were told to stop

    async def run(self) -> None:
        """Until a signal, or until something makes serving impossible, which is raised."""
        self._ended = asyncio.get_running_loop().create_future()
        self._hurried = asyncio.Event()
        address = "" if self._inheritance else await self._open_admin()
        self._listen_for_signals()
        try:
            self._spawn(self._serve(address), "start")
            await self._ended
            await self._drain()
            if self._writer:
                await self._writer.flush()
        except CredentialRejected:
            await self._cut_off()
            raise
        finally:
            await self._close()

    def stop(self) -> None:
        """Begins to drain; asked a second time, ends what is left of it."""
        self._asked += 1
        if self._asked > 1:
            self._hurried.set()
        elif not self._ended.done():
            self._ended.set_result(None)

    def _listen_for_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reopen_logs)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._replace)

    def _pool(self) -> "WorkerPool | None":
        """The workers, where the switch is spread over some."""
        if self._config.workers == 1:
            return None
        from .workers import WorkerPool

        switch = self._serving.switch
        return switch if isinstance(switch, WorkerPool) else None

    def _tapped(self, query: str) -> AbstractContextManager[Feed]:
        pool = self._pool()
        return tapped(self._outlets, query) if pool is None else pool.tapped(query)

    def _reopen_logs(self) -> None:
        if (pool := self._pool()) is not None:
            pool.reopen()
        self._tasks.spawn(self._reporting.reopen(), "reopen the access log")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A part that serving depends on: when it fails, `run` raises its error."""

        async def watched() -> None:
            try:
                await work
            except Exception as error:
                if not self._ended.done():
                    self._ended.set_exception(error)

        self._tasks.spawn(watched(), name)

    async def _open_admin(self) -> str:
        return await self._admin.start(self._config.admin_host, self._config.admin_port, self._sockets)

    # --- another process takes over ---

    def _inherit(self) -> Inheritance | None:
        if not (self._config.takeover and self._config.state_dir):
            return None
        found = inherit(self._config.state_dir)
        if found is None:
            log.info("no sidecar to be replaced", state_dir=str(self._config.state_dir))
        return found

    def _replace(self) -> None:
        """Starts this program again, as it lies on the disk now; it takes over once it serves."""
        if self._handover is None:
            log.error("not replaced: that needs --state-dir, and a sidecar that serves")
        elif not self._asked:
            self._tasks.spawn(self._successor.run(), "successor")

    def _replaced(self) -> None:
        """It serves. What we still carry ends; the state is the successor's now."""
        log.info("a successor has taken over")
        if self._successor.pid:
            systemd.notify(f"MAINPID={self._successor.pid}")
        self._writer = None
        self._tasks.spawn(self._admin.close(), "close the admin port")
        self.stop()

    def _take_over(self) -> None:
        """We serve: the predecessor may go, and the next successor may come."""
        if self._config.state_dir is not None:
            self._handover = Handover(self._config.state_dir, self._sockets, self._replaced)
            self._handover.start()
        if self._inheritance is not None:
            self._inheritance.serving()
            self._spawn(self._release_unasked(), "listeners of the predecessor")

    async def _release_unasked(self) -> None:
        await asyncio.sleep(UNASKED_S)
        self._sockets.release_unasked()

    # --- start ---

    async def _serve(self, admin_address: str) -> None:
        cached = self._state.load_config() if self._state else None
        svid, fresh = await self._first_svid(cached is not None)
        self._take_svid(svid, save=fresh)
        self._follow(svid, cached[0] if cached else None)
        if cached:
            await self._wait_then_serve(*cached, patience_s=CACHE_PATIENCE_S if fresh else 0.0)
        await self._serving.started.wait()
        self._reporting.start()
        self._spawn(Observer(self._session, self._telemetry, self._tapped, self._rng).run(), "observation")
        self._spawn(self._drain_reports.run(), "reports of a drain")
        address = admin_address or await self._open_admin()
        self._take_over()
        self._announce(address)
        self._spawn(systemd.feed_watchdog(), "watchdog")

    def _follow(self, svid: Svid, resources: Resources | None) -> None:
        subscription = Subscription(self._session, self._take_snapshot, self._rng, self._telemetry, resources)
        self._spawn(subscription.run(), "subscription")
        self._spawn(self._identity.keep_fresh(svid, self._take_svid), "certificate")
        if self._writer:
            self._spawn(self._writer.run(), "state")

    async def _first_svid(self, have_config: bool) -> tuple[Svid, bool]:
        """A new certificate, or the cached one where the registry does not answer. True if new."""
        cached = self._state.load_svid(self._clock.wall()) if self._state and have_config else None
        failures = 0
        while True:
            try:
                async with asyncio.timeout(CACHE_PATIENCE_S if cached else None):
                    return await self._identity.obtain(), True
            except (RegistryUnreachable, TimeoutError) as error:
                log.warning("registry not reached", error=str(error) or "no answer in time")
                if cached:
                    return cached, False
            failures += 1
            await self._session.next_address()
            await asyncio.sleep(backoff_s(failures, self._rng.random()))

    async def _wait_then_serve(self, resources: Resources, index: int, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await self._serving.started.wait()
        except TimeoutError:
            log.warning("serving the cached configuration", index=index)
            snapshot = compile_snapshot(resources, index)
            await self._serving.use_cached(snapshot)
            await self._report(self._serving.snapshot or snapshot)
            if not self._telemetry.deltas_applied:
                self._telemetry.config_index = index
                self._telemetry.config_version = version_of(resources)

    def _announce(self, admin_address: str) -> None:
        memory.settle()
        systemd.notify("READY=1", "STATUS=serving")
        log.info("ready", admin=admin_address, instance=self._credential.instance_key)
        if path := self._config.ready_file:
            try:
                path.write_text(json.dumps({"admin": admin_address}) + "\n")
            except OSError as error:
                raise EnvironmentProblem(f"--ready-file {path}: {error.strerror}") from error

    # --- changes ---

    async def _take_snapshot(self, snapshot: Snapshot, resources: Resources) -> None:
        await self._serving.use_snapshot(snapshot)
        await self._report(snapshot)
        self._compare_signer()
        self._drain_reports.use(snapshot.draining)
        if self._writer:
            self._writer.config(resources, snapshot.index)

    async def _report(self, snapshot: Snapshot) -> None:
        if self._config.workers == 1:  # or workers do
            await self._reporting.use(snapshot)

    def _take_svid(self, svid: Svid, save: bool = True) -> None:
        self._serving.use_svid(svid)
        self._compare_signer()
        if self._writer and save:
            self._writer.svid(svid)

    def _compare_signer(self) -> None:
        svid, snapshot = self._serving.svid, self._serving.snapshot
        if svid is not None and snapshot is not None:
            self._identity.signed_by(svid, snapshot.signing_key_id)

    # --- end ---

    async def _drain(self) -> None:
        log.info("draining", grace_s=self._config.drain_timeout_s)
        self._pages.draining = True
        if self._handover is not None:
            await self._handover.close()  # there is nothing left to be taken over
        if not self._successor.pid:
            systemd.notify("STOPPING=1")
        drain = self._tasks.spawn(self._serving.drain(self._config.drain_timeout_s), "drain")
        hurried = self._tasks.spawn(self._hurried.wait(), "hurried")
        await asyncio.wait((drain, hurried), return_when=asyncio.FIRST_COMPLETED)
        if not drain.done():
            await self._serving.drain(0.0)

    async def _cut_off(self) -> None:
        """The registry withdrew who we are: nobody is served any more, from the cache neither."""
        self._pages.draining = True
        await self._serving.drain(0.0)
        if self._writer:
            await self._writer.clear()

    async def _close(self) -> None:
        if self._handover is not None:
            await self._handover.close()
        if self._inheritance is not None:
            self._inheritance.close()
        await self._tasks.close()
        await self._reporting.close()
        await self._admin.close()
        await self._session.close()
        self._sockets.close()
        log.info("ended")
