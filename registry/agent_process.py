"""The composition root of `weft agent`: every room made, wired and started in order.

It listens before any server was reached: services of this machine register while servers are away, and are
told once they are back.
"""

import asyncio
import os
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import structlog

from weft import __version__
from weft.aio import Tasks
from weft.clock import SystemClock
from weft.errors import ConfigError, WeftError
from weft.files import read_bounded, read_private
from weft.pb.agent.v1.agent_pb2 import Hello
from weft.tls import https_server_context

from .agent.definitions import NO_DEFINITIONS, DefinitionFiles, DefinitionPaths
from .agent.local import Agent
from .agent.probes import Prober
from .agent.runner import Elsewhere, Runner
from .agent.scripts import ScriptPolicy
from .agent.writer import Writer
from .api.handling import Parts
from .api.server import Api
from .catalog.commands import REQUEST_ID_BYTES, Stamp
from .catalog.model import Node
from .client_agent.cache import Cache
from .client_agent.cached_reads import CachedReads
from .client_agent.callers import DownPolicy, RemoteCallers
from .client_agent.discovery import Discovery
from .client_agent.dns import RemoteAnswers, RemoteDesk
from .client_agent.fleet import Fleet
from .client_agent.forward import Forwarder
from .client_agent.home import Home
from .client_agent.local_log import LocalLog
from .client_agent.local_routes import LOCAL_ROUTES
from .client_agent.minter import RemoteMinter
from .client_agent.remote_alias import RemoteAlias
from .client_agent.servers import Servers, Trust
from .client_agent.store import Store
from .client_agent.sync import Pace, Sync
from .client_agent.tokens import KeptTokens
from .dns.recursor import Recursors
from .dns.server import DnsServer
from .dns.settings import DnsSettings
from .machine import join, machine_name, port_free
from .membership.entry import enter
from .membership.files import Membership, MembershipFiles
from .membership.keeper import Keeper

log = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HttpsSettings:
    """The API over TLS, for who is not on this machine. Files are PEM, the key of mode 0600."""

    port: int
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Raises ConfigError."""
        chain = read_bounded(self.certificate, f"--tls-cert {self.certificate}")
        return https_server_context(chain, read_private(self.key, "--tls-key"))


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How an agent runs. Ports may be 0 for free ones; hosts are without port."""

    data_dir: Path
    servers: tuple[str, ...]  # host:port of HTTPS, or http://host:port on this machine
    trust: Trust
    datacenter: str
    node_name: str  # "" takes the machine's
    advertise: str  # where others reach this machine; "" is what it uses towards the servers
    client_address: str  # where DNS and HTTPS are listened to
    http_port: int
    dns: DnsSettings | None  # None: DNS is not answered; what instances are told is the servers' choice
    sync_interval_s: float
    https: HttpsSettings | None = None  # None: clients of other machines are not served
    scripts: ScriptPolicy = ScriptPolicy.OFF  # whether checks may run programs on this machine
    definitions: DefinitionPaths = NO_DEFINITIONS  # services and checks of this machine
    join_token: str = field(default="", repr=False)  # used where the agent is no member yet
    down_policy: DownPolicy = DownPolicy.EXTEND_CACHE  # who may do what while no server can say
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # by kind (`agent`, `default`)


class AgentProcess:
    """A running agent. Make one with `start`."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.tasks = Tasks()
        self.leaving = asyncio.Event()
        self.node: Node
        self.agent: Agent
        self.servers: Servers
        self.definitions: DefinitionFiles
        self._callers: RemoteCallers
        self._tokens: KeptTokens
        self.http = ""  # host:port
        self.https = ""
        self.dns = ""
        self._clock = SystemClock()
        self._draw = random.SystemRandom().random
        self._closers: list[Callable[[], object]] = []
        self._keeper: Keeper | None = None

    @classmethod
    async def start(cls, settings: AgentSettings) -> Self:
        """Everything listens; the servers may be away, but for an agent that has yet to join.

        Raises DataDirProblem, PortTaken, ConfigError, JoinRefused."""
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
        member = await self._enter(home)
        log = LocalLog.open(Store(home.path), node, self._stamp)
        self._closers.append(log.close)
        writer = Writer(log, self._clock, os.urandom)
        agent = self.agent = Agent(writer, node, port_free, settings.scripts)
        alive, joined = lambda: {row.id for row in agent.services()}, member.acl_secret if member else ""
        tokens = self._tokens = KeptTokens(home.path, settings.tokens, alive, joined)
        now = self._clock.monotonic
        fleet = Fleet(settings.servers, self._draw, now())
        self.servers = servers = Servers(fleet, self._trust(), now)
        self._closers.append(servers.close)
        self._callers = RemoteCallers(servers, settings.datacenter, self._clock, settings.down_policy)
        self._closers.append(self._callers.close)
        pace = Pace(settings.sync_interval_s, self._draw)
        sync = Sync(log, node, servers, tokens, self._clock, pace)
        runner = self._runner(log, RemoteAlias(servers, lambda: tokens.own).look)
        minter = RemoteMinter(log, node, servers, tokens, sync)
        paths, remember = settings.definitions, tokens.remember_defined
        self.definitions = DefinitionFiles(paths, agent, runner, home.path, remember)
        await self.definitions.reload()
        await self._listen(self._parts(log, runner, minter, tokens), tokens)
        self.tasks.spawn(runner.run(), "checks")
        self.tasks.spawn(log.forget(), "tombstones")
        self.tasks.spawn(sync.run(), "anti-entropy")
        self.tasks.spawn(self.definitions.run(), "definitions")
        if all("://" not in it for it in settings.servers):  # a server on this machine alone has no others
            discovery = Discovery(servers, lambda: tokens.own, self._clock, self._draw)
            self.tasks.spawn(discovery.run(), "discovery of servers")
        if self._keeper:
            self._keeper.start()

    async def _enter(self, home: Home) -> Membership | None:
        """The agent's membership, with its keeper; None where it has none. Raises as `enter`."""
        settings = self.settings
        servers, name = settings.servers, self.node.name
        member = await enter(
            home.path, settings.join_token, servers, name, settings.datacenter, self._clock, self._draw
        )
        if member is not None:
            files = MembershipFiles(home.path)
            self._keeper = Keeper(member, files, self._hello, self._clock, self._draw)
            self._closers.append(self._keeper.close)
        elif settings.trust.ca_file is None and any("://" not in it for it in servers):
            raise ConfigError(
                "--server: give --tls-ca too, the root of the servers' certificates, or --join-token-file"
            )
        return member

    def _hello(self) -> Hello:
        """What the node's entry in the catalog is made of, should servers not have it."""
        node = self.node
        return Hello(
            node_id=node.id,
            address=node.address,
            tagged_addresses=node.tagged_addresses,
            meta=node.meta,
            version=__version__,
        )

    def _trust(self) -> Trust:
        keeper = self._keeper
        return replace(self.settings.trust, told=lambda: keeper.membership.registry_ca_pem if keeper else "")

    def _stamp(self) -> Stamp:
        return Stamp(int(self._clock.wall() * 1000), os.urandom(REQUEST_ID_BYTES))

    def _runner(self, log: LocalLog, elsewhere: Elsewhere) -> Runner:
        prober = Prober(self.settings.scripts)
        self._closers.append(prober.close)
        runner = Runner(log, self.agent, prober, self._clock, self._draw, elsewhere)
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
            tapping=None,
            canaries=None,
            proxies=None,
            clock=self._clock,
            draw=self._draw,
            entropy=os.urandom,
            default_allow=False,
            server_address="",
            remote=self._callers,
            is_server=False,
            tokens=tokens,
            definitions=self.definitions,
            leaving=self.leaving,
        )

    async def _listen(self, parts: Parts, tokens: KeptTokens) -> None:
        reads = CachedReads(self.servers, self._callers, Cache(), self._clock.monotonic)
        forwarder = Forwarder(self.servers, reads, lambda: tokens.of("default"), self.node.name)
        api = Api(parts, LOCAL_ROUTES, forwarder.handle)
        self._closers.append(api.close)
        self.http = join(LOOPBACK, await api.start(LOOPBACK, self.settings.http_port))
        if https := self.settings.https:
            host = self.settings.client_address
            self.https = join(host, await api.start(host, https.port, https.context()))
        if dns := self.settings.dns:
            await self._answer_dns(dns, lambda: tokens.of("dns") or dns.token or tokens.of("default"))

    async def _answer_dns(self, settings: DnsSettings, token: Callable[[], str]) -> None:
        recursors = Recursors(settings.recursors, os.urandom) if settings.recursors else None
        answers = RemoteAnswers(self.servers, token, recursors, self._clock.monotonic)
        server = DnsServer(RemoteDesk(), answers, self._clock.monotonic)
        self._closers.append(server.close)
        host = self.settings.client_address
        self.dns = join(host, await server.start(host, settings.port))

    async def reload(self) -> None:
        """As `PUT /v1/agent/reload`. Raises what DefinitionFiles.reload raises."""
        await self.definitions.reload()

    async def failed(self) -> BaseException:
        """Never: what goes wrong is logged and tried again."""
        never: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        return await never

    def told(self) -> dict[str, str]:
        """Where it listens, for the ready file."""
        return {
            "http": self.http,
            "https": self.https,
            "dns": self.dns,
            "node": self.node.name,
            "node_id": self.node.id,
        }

    async def close(self) -> None:
        """Stops telling servers, stops listening. What is registered stays: a restart is no departure, unless
        somebody has asked the agent to leave."""
        await self.tasks.close()
        if self.leaving.is_set():
            await self._depart()
        for closer in reversed(self._closers):
            ending = closer()
            if asyncio.iscoroutine(ending):
                await ending

    async def _depart(self) -> None:
        """Takes the node out of the catalog. On this disk everything stays: a later start brings it back."""
        if self._keeper:
            await self._keeper.close()  # or its next word would do so at once
        gone = {"Node": self.node.name}
        try:
            told = await self.servers.ask("PUT", "/v1/catalog/deregister", self._tokens.own, gone)
            if told.status != 200:
                log.warning("the node stays in the catalog", reason=told.body[:500].decode(errors="replace"))
        except WeftError as error:
            log.warning("the node stays in the catalog", reason=str(error))


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
