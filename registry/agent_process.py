"""The composition root of `weft agent`: every room made, wired and started in order.

It listens before any server was reached: services of this machine register while servers are away, and are
told once they are back.
"""

import asyncio
import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from weft.aio import Tasks
from weft.clock import SystemClock
from weft.errors import ConfigError

from .agent.definitions import NO_DEFINITIONS, DefinitionFiles, DefinitionPaths
from .agent.local import Agent
from .agent.probes import Prober
from .agent.runner import Runner
from .agent.scripts import ScriptPolicy
from .agent.writer import Writer
from .api.handling import Parts
from .api.server import Api
from .catalog.commands import REQUEST_ID_BYTES, Stamp
from .catalog.model import Node
from .client_agent.cache import Cache
from .client_agent.cached_reads import CachedReads
from .client_agent.callers import RemoteCallers
from .client_agent.fleet import Fleet
from .client_agent.forward import Forwarder
from .client_agent.home import Home
from .client_agent.local_log import LocalLog
from .client_agent.local_routes import LOCAL_ROUTES
from .client_agent.minter import RemoteMinter
from .client_agent.servers import Servers, Trust
from .client_agent.store import Store
from .client_agent.sync import Pace, Sync
from .client_agent.tokens import KeptTokens
from .machine import join, machine_name, port_free

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How an agent runs. Ports may be 0 for free ones; hosts are without port."""

    data_dir: Path
    servers: tuple[str, ...]  # host:port of HTTPS, or http://host:port on this machine
    trust: Trust
    datacenter: str
    node_name: str  # "" takes the machine's
    advertise: str  # where others reach this machine; "" is what it uses towards the servers
    http_port: int
    sync_interval_s: float
    scripts: ScriptPolicy = ScriptPolicy.OFF  # whether checks may run programs on this machine
    definitions: DefinitionPaths = NO_DEFINITIONS  # services and checks of this machine
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # by kind (`agent`, `default`)


class AgentProcess:
    """A running agent. Make one with `start`."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.tasks = Tasks()
        self.node: Node
        self.agent: Agent
        self.servers: Servers
        self.definitions: DefinitionFiles
        self._callers: RemoteCallers
        self.http = ""  # host:port
        self._clock = SystemClock()
        self._draw = random.SystemRandom().random
        self._closers: list[Callable[[], object]] = []

    @classmethod
    async def start(cls, settings: AgentSettings) -> Self:
        """Everything listens; the servers may be away. Raises DataDirProblem, PortTaken, ConfigError."""
        process = cls(settings)
        try:
            await process._start()
        except BaseException:
            await process.close()
            raise
        return process

    async def _start(self) -> None:
        settings = self.settings
        home = Home.open(settings.data_dir, os.urandom)
        self._closers.append(home.close)
        self.node = node = _node(settings, home.node_id)
        log = LocalLog.open(Store(home.path), node, self._stamp)
        self._closers.append(log.close)
        writer = Writer(log, self._clock, os.urandom)
        agent = self.agent = Agent(writer, node, port_free, settings.scripts)
        tokens = KeptTokens(home.path, settings.tokens, lambda: {row.id for row in agent.services()})
        now = self._clock.monotonic
        self.servers = servers = Servers(Fleet(settings.servers, self._draw, now()), settings.trust, now)
        self._closers.append(servers.close)
        self._callers = RemoteCallers(servers, settings.datacenter, self._clock)
        pace = Pace(settings.sync_interval_s, self._draw)
        sync = Sync(log, node, servers, tokens, self._clock, pace)
        runner = self._runner(log)
        minter = RemoteMinter(log, node, servers, tokens, sync)
        paths, remember = settings.definitions, tokens.remember_defined
        self.definitions = DefinitionFiles(paths, agent, runner, home.path, remember)
        await self.definitions.reload()
        await self._listen(self._parts(log, runner, minter, tokens), tokens)
        self.tasks.spawn(runner.run(), "checks")
        self.tasks.spawn(log.forget(), "tombstones")
        self.tasks.spawn(sync.run(), "anti-entropy")
        self.tasks.spawn(self.definitions.run(), "definitions")

    def _stamp(self) -> Stamp:
        return Stamp(int(self._clock.wall() * 1000), os.urandom(REQUEST_ID_BYTES))

    def _runner(self, log: LocalLog) -> Runner:
        prober = Prober(self.settings.scripts)
        self._closers.append(prober.close)
        runner = Runner(log, self.agent, prober, self._clock, self._draw)
        self._closers.append(runner.close)
        return runner

    def _parts(self, log: LocalLog, runner: Runner, minter: RemoteMinter, tokens: KeptTokens) -> Parts:
        return Parts(
            log=log,
            writer=Writer(log, self._clock, os.urandom),
            agent=self.agent,
            runner=runner,
            credentials=minter,
            leaves=None,
            renewals=None,
            measuring=None,
            canaries=None,
            clock=self._clock,
            draw=self._draw,
            entropy=os.urandom,
            default_allow=False,
            server_address="",
            remote=self._callers,
            is_server=False,
            tokens=tokens,
            definitions=self.definitions,
        )

    async def _listen(self, parts: Parts, tokens: KeptTokens) -> None:
        reads = CachedReads(self.servers, self._callers, Cache(), self._clock.monotonic)
        forwarder = Forwarder(self.servers, reads, lambda: tokens.of("default"), self.node.name)
        api = Api(parts, LOCAL_ROUTES, forwarder.handle)
        self._closers.append(api.close)
        self.http = join(LOOPBACK, await api.start(LOOPBACK, self.settings.http_port))

    async def reload(self) -> None:
        """As `PUT /v1/agent/reload`. Raises what DefinitionFiles.reload raises."""
        await self.definitions.reload()

    async def failed(self) -> BaseException:
        """Never: what goes wrong is logged and tried again."""
        never: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        return await never

    def told(self) -> dict[str, str]:
        """Where it listens, for the ready file."""
        return {"http": self.http, "node": self.node.name, "node_id": self.node.id}

    async def close(self) -> None:
        """Stops telling servers, stops listening. What is registered stays: a restart is no departure."""
        await self.tasks.close()
        for closer in reversed(self._closers):
            ending = closer()
            if asyncio.iscoroutine(ending):
                await ending


def _node(settings: AgentSettings, node_id: str) -> Node:
    host = settings.advertise or _address_towards(settings.servers[0])
    names = ("lan", "wan") if ":" in host else ("lan", "lan_ipv4", "wan", "wan_ipv4")
    name = settings.node_name or machine_name()
    return Node(name, host, settings.datacenter, node_id, dict.fromkeys(names, host))


def _address_towards(server: str) -> str:
    """The address that this machine uses to reach a server; nothing is sent. Raises ConfigError."""
    parts = urlsplit(server if "://" in server else f"https://{server}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            parts.hostname, parts.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigError(
            f"--server {server}: no way there ({error.strerror or error}): give this machine's address with "
            "--advertise"
        ) from None
