"""The composition root of a registry process: every room made, wired and started in order."""

import asyncio
import os
import random
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import structlog

from ca.provider import FileKey
from weft.aio import Tasks
from weft.clock import Clock, SystemClock
from weft.errors import ConfigError, WeftError

from .agent.check_definition import NODE_ALIVE_ID
from .agent.local import SERVER_SERVICE, Agent
from .agent.probes import Prober
from .agent.runner import Runner
from .agent.writer import Writer
from .api.handling import Parts
from .api.server import Api
from .catalog import commands, expiry
from .catalog.model import PASSING, Check, Cluster, Node, Service
from .catalog.state import State
from .data_keys import Keys, file_keys, memory_keys
from .identity.credentials import Credentials
from .identity.issuer import Issuer
from .identity.rotation import Rotation
from .identity.server_tls import ServerIdentity, server_root
from .identity.service_leaves import ServiceLeaves
from .identity.signing_key import SigningKey
from .mesh.compile import ProxyCompiler, depends
from .mesh.compile import Settings as CompileSettings
from .replica.replica import Replica
from .rpc.mesh import Compiler, Mesh
from .rpc.registration import Registration
from .rpc.server import GrpcServer

log = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"
SERVER_HOSTS = ("localhost", "127.0.0.1", "::1")
HOUSEKEEPING_S = 15.0  # how late what has expired is dropped; nothing waits for it


@dataclass(frozen=True, slots=True)
class Settings:
    """How a registry on one machine runs. Ports may be 0 for free ones."""

    data_dir: Path | None
    http_port: int
    grpc_port: int
    datacenter: str
    node_name: str  # "" keeps the data directory's, or takes the machine's
    leaf_ttl: timedelta | None  # None keeps what the CA goes by
    default_allow: bool
    operator_key_file: Path | None = None  # what seals the CA's key; None: see ca/operator_key.py


class Registry:
    """A running registry. Make one with `start`."""

    def __init__(self, replica: Replica, tasks: Tasks) -> None:
        self.log = replica
        self.tasks = tasks
        self.agent: Agent
        self.mesh: Mesh
        self.issuer: Issuer
        self.rotation: Rotation
        self.identity: ServerIdentity
        self.leaves: ServiceLeaves
        self.http = ""  # host:port
        self.grpc = ""
        self.registry_ca_pem = ""
        self.trust_domain = ""
        self.node = ""
        self._closers: list[Callable[[], object]] = []

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        """Everything up and listening. Raises DataDirProblem, KeyUnusable, PortTaken, ConfigError."""
        if settings.data_dir is None:
            replica = await Replica.in_memory()
        else:
            replica = await Replica.open(settings.data_dir)
        registry = cls(replica, Tasks())
        try:
            await registry._start(settings)
        except BaseException:
            await registry.close()
            raise
        return registry

    async def _start(self, settings: Settings) -> None:
        clock, writer = SystemClock(), Writer(self.log, SystemClock(), os.urandom)
        state = self.log.view()
        name = _node_name(settings, state)
        keys = _keys(settings, state)
        root = server_root(keys.server_root, keys.server, settings.datacenter, clock, os.urandom)
        self.identity = ServerIdentity(root, keys.server, SERVER_HOSTS, clock, os.urandom)
        signing = SigningKey(keys.operator)
        self.issuer = Issuer(self.log, writer, signing, clock, os.urandom)
        cluster = await _ensure_cluster(writer, settings.datacenter, state)
        adopted = FileKey(keys.adopted) if keys.adopted else None
        self.rotation = Rotation(self.log, writer, signing, os.urandom, adopted)
        await self.rotation.ensure(settings.leaf_ttl)
        keys.forget_adopted()
        self.registry_ca_pem, self.trust_domain, self.node = (
            self.identity.root_pem,
            cluster.trust_domain,
            name,
        )
        await self._serve(settings, writer, clock, _node(name, settings, self.log.view()))

    async def _serve(self, settings: Settings, writer: Writer, clock: Clock, node: Node) -> None:
        self.agent = agent = Agent(writer, node, port_free)
        draw = random.SystemRandom().random
        prober = Prober()
        self._closers.append(prober.close)
        runner = Runner(self.log, agent, prober, clock, draw)
        self._closers.append(runner.close)
        compiler = ProxyCompiler(CompileSettings(settings.default_allow))
        self.mesh = Mesh(self.log, self.issuer, Compiler(compiler.resources, depends))
        credentials = Credentials(writer, os.urandom, self.registry_ca_pem, self.trust_domain)
        server = GrpcServer(self.mesh, Registration(agent, runner, credentials))
        self._closers.append(server.close)
        port = server.bind(LOOPBACK, settings.grpc_port, self.identity.credentials())
        self.grpc = f"{LOOPBACK}:{port}"
        credentials.addresses = (self.grpc,)
        self.leaves = ServiceLeaves(self.log, self.issuer, clock)
        parts = Parts(
            log=self.log,
            writer=writer,
            agent=agent,
            runner=runner,
            credentials=credentials,
            leaves=self.leaves,
            clock=clock,
            draw=draw,
            entropy=os.urandom,
            default_allow=settings.default_allow,
            server_address=self.grpc,
        )
        await self._listen(parts, server, settings.http_port, port)

    async def _listen(self, parts: Parts, server: GrpcServer, http_port: int, grpc_port: int) -> None:
        api = Api(parts)
        self._closers.append(api.close)
        # Both ports are taken before the catalog says that this node is alive.
        await api.start(LOOPBACK, http_port)
        self.http = f"{LOOPBACK}:{api.port}"
        await _announce(parts.writer, parts.agent.node, grpc_port)
        self.tasks.spawn(parts.runner.run(), "checks")
        self.tasks.spawn(self._housekeeping(parts.writer), "housekeeping")
        self.tasks.spawn(self.rotation.run(), "rotation of the CA")
        await server.start()

    async def _housekeeping(self, writer: Writer) -> None:
        """Proposes to drop what has expired; `apply` itself never looks at a clock."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                while expiry.due(writer.view(), writer.now_ms()):
                    await writer.propose(commands.expire)
            except WeftError as error:
                log.warning("expired rows are not dropped", error=str(error))

    async def close(self) -> None:
        """Ends streams, stops listening, closes the log; what was answered is durable already."""
        await self.tasks.close()
        for closer in reversed(self._closers):
            ending = closer()
            if asyncio.iscoroutine(ending):
                await ending
        await self.log.close()


def _keys(settings: Settings, state: State) -> Keys:
    if settings.data_dir is None:
        return memory_keys(os.environ, settings.operator_key_file)
    return file_keys(settings.data_dir, state, os.environ, settings.operator_key_file)


def _node_name(settings: Settings, state: State) -> str:
    """The node that this process is. Raises ConfigError when the data directory is another's."""
    if state.cluster and state.cluster.datacenter != settings.datacenter:
        raise ConfigError(
            f"--datacenter {settings.datacenter}: the data directory is of {state.cluster.datacenter}; "
            "give that name, or another directory"
        )
    known = [row.name for row in state.list_nodes().rows]
    if known and settings.node_name not in ("", known[0]):
        raise ConfigError(
            f"--node-name {settings.node_name}: the data directory is of node {known[0]}; "
            "give that name, or another directory"
        )
    return known[0] if known else settings.node_name or _machine_name()


def _machine_name() -> str:
    """The host name with what a node name may not hold replaced."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in socket.gethostname())
    return kept.strip("-")[:64] or "node"


async def _ensure_cluster(writer: Writer, datacenter: str, state: State) -> Cluster:
    """The cluster's name for ever: chosen at the first start."""
    if state.cluster is not None:
        return state.cluster
    cluster_id = str(uuid.UUID(bytes=os.urandom(16), version=4))
    cluster = Cluster(cluster_id, datacenter, f"{cluster_id}.consul")  # Consul's form of a trust domain
    await writer.propose(lambda stamp: commands.init_cluster(stamp, cluster))
    return cluster


def _node(name: str, settings: Settings, state: State) -> Node:
    known = state.nodes.get((name,))
    node_id = known.id if known else str(uuid.UUID(bytes=os.urandom(16), version=4))
    tagged = dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), LOOPBACK)
    return Node(name, LOOPBACK, settings.datacenter, node_id, tagged)


async def _announce(writer: Writer, node: Node, grpc_port: int) -> None:
    """Registers the node, its liveness under the name that clients know, and the registry itself."""
    alive = Check(node.name, NODE_ALIVE_ID, "Serf Health Status", PASSING, output="Agent alive and reachable")
    own = Service(node.name, SERVER_SERVICE, SERVER_SERVICE, node.datacenter, port=grpc_port)
    await writer.propose(lambda stamp: commands.register(stamp, node, [own], [alive]))


def port_free(port: int) -> bool:
    """Whether nothing on this machine listens on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
