"""The composition root of a registry process: every room made, wired and started in order.

`weft dev` is a cluster of one on loopback; `weft server` a member of a cluster. They differ in where proof
comes from (keys in the data directory, certificate files) and in when there is a leader (at once, later).
"""

import asyncio
import os
import random
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Self

import structlog

from ca.provider import FileKey
from weft.aio import Tasks
from weft.clock import SystemClock
from weft.errors import ConfigError, Unavailable

from .acl.caller import EVERYBODY
from .agent.definitions import DefinitionFiles
from .agent.local import Agent
from .agent.probes import Prober
from .agent.runner import Runner
from .agent.writer import Writer
from .agents_port import AgentsPort, Needs
from .api.handling import Joining, Parts
from .api.server import Api
from .audit.log import Audit, open_audit
from .catalog import commands, watches
from .catalog.model import Cluster, Node
from .catalog.state import State
from .data_keys import Keys, cluster_keys, file_keys, memory_keys
from .dns.desk import Desk
from .dns.recursor import Recursors
from .dns.server import DnsServer
from .dns.settings import NO_DNS, DnsSettings
from .errors import Conflict, NotReady
from .identity.admission import Admission, caller_of
from .identity.credentials import Credentials
from .identity.issuer import Issuer
from .identity.rotation import Rotation
from .identity.server_proof import ServerProof
from .identity.server_tls import Face, ServerIdentity, server_root
from .identity.service_leaves import ServiceLeaves
from .identity.signing_key import SigningKey
from .limits.guard import Limits
from .log_engine import open_log
from .machine import LOOPBACK, join, port_free
from .mesh.compile import ProxyCompiler
from .mesh.compile import Settings as CompileSettings
from .operator.agents import ReportsToLeader
from .operator.canaries import Canaries
from .operator.duties import Duties
from .operator.experiments import Experiments
from .operator.formation import Formation
from .operator.forward import ToLeader
from .operator.measuring import Measuring
from .operator.presence import Presence
from .operator.proxies import Proxies
from .operator.renewals import Renewals
from .operator.servers import GRPC_META, grpc_addresses, others
from .operator.tapping import Tapping
from .own_node import node_name, node_of
from .replica.etcd.engine import EtcdLog
from .replica.membership import Membership
from .replica.peer_tls import server_name
from .replica.replica import Replica
from .rpc.drains import Drains
from .rpc.gate import Gate
from .rpc.mesh import Compiler, Mesh
from .rpc.registration import Registration
from .rpc.server import GrpcServer
from .rpc.servers import Servers
from .settings import AclSettings as AclSettings
from .settings import ClusterSettings as ClusterSettings
from .settings import Settings as Settings

log = structlog.get_logger(__name__)

SERVER_HOSTS = ("localhost", "127.0.0.1", "::1")
NAME_RETRY_S = 0.1  # whoever leads names the cluster; the others look this often
KEY_RECHECK_S = 60.0


class Registry:
    """A running registry. Make one with `start`."""

    def __init__(self, replica: Replica | EtcdLog, settings: Settings) -> None:
        self.log = replica
        self.settings = settings
        self.tasks = Tasks()
        self.leaving = asyncio.Event()
        self.agent: Agent
        self.mesh: Mesh
        self.issuer: Issuer
        self.rotation: Rotation
        self.identity: Face
        self.leaves: ServiceLeaves
        self.admission: Admission | None
        self.measuring: Measuring
        self.canaries: Canaries
        self.proxies: Proxies
        self.audit: Audit
        self._port: AgentsPort
        self.definitions: DefinitionFiles
        self.limits = Limits(settings.limits, SystemClock().monotonic)
        self.http = ""  # host:port
        self.https = ""
        self.grpc = ""
        self.dns = ""
        self.agents = ""  # host:port for agents
        self.node = ""
        self._clock = SystemClock()
        self._writer = Writer(replica, self._clock, os.urandom)
        self._closers: list[Callable[[], object]] = []
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        """Everything listens. Alone, it is also ready; a member of a cluster becomes ready once there is a
        leader. Raises DataDirProblem, KeyUnusable, PortTaken, ConfigError."""
        registry = cls(await open_log(settings), settings)
        try:
            await registry._start()
        except BaseException:
            await registry.close()
            raise
        return registry

    async def _start(self) -> None:
        settings, state = self.settings, self.log.view()
        self.audit = open_audit(settings.audit, self._clock)
        self._closers.append(self.audit.close)
        _check_datacenter(settings, state)
        self.node = node_name(settings, state)
        keys = _keys(settings, state)
        self.identity = self._face(keys)
        signing = SigningKey(keys.operator)
        self.issuer = Issuer(self.log, self._writer, signing, self._clock, os.urandom)
        adopted = FileKey(keys.adopted) if keys.adopted else None
        self.rotation = Rotation(self.log, self._writer, signing, os.urandom, adopted, self.audit)
        if settings.cluster is None:
            # Before anything listens: a key that does not fit must leave the catalog as it was.
            await _ensure_cluster(self._writer, settings.datacenter)
            await self.rotation.ensure(settings.leaf_ttl)
            keys.forget_adopted()
        presence, runner = await self._serve(node_of(self.node, settings, self.log), keys)
        if settings.cluster is None:
            await presence.tell()
            await self.definitions.reload()
            self._begin_work(presence, runner)
        else:
            self._watch(lambda: self._join_in(presence, runner, signing), "becoming ready")

    @property
    def _members(self) -> Membership | None:
        """None where the consensus engine keeps its own."""
        return self.log.membership if isinstance(self.log, Replica) else None

    def _other_servers(self) -> tuple[str, ...]:
        """Where their gRPC listeners are."""
        rows = others(self.log.view(), self.log.status().server_id)
        return tuple(row.address(GRPC_META) for row in rows)

    def _face(self, keys: Keys) -> Face:
        if self.settings.cluster:
            return self.settings.cluster.files
        root = server_root(keys.server_root, keys.server, self.settings.datacenter, self._clock, os.urandom)
        hosts = (*SERVER_HOSTS, server_name(self.settings.datacenter))
        return ServerIdentity(root, keys.server, hosts, self._clock, os.urandom)

    async def _serve(self, node: Node, keys: Keys) -> tuple[Presence, Runner]:
        """Makes the rooms that take calls, and takes all ports."""
        self.agent = agent = Agent(self._writer, node, port_free, self.settings.scripts)
        draw = random.SystemRandom().random
        prober = Prober(self.settings.scripts)
        self._closers.append(prober.close)
        runner = Runner(self.log, agent, prober, self._clock, draw)
        self._closers.append(runner.close)
        paths = self.settings.definitions
        self.definitions = DefinitionFiles(paths, agent, runner, self.settings.data_dir)
        self.definitions.read()  # what is wrong with them ends the start, not the first reload
        to_leader = self._to_leader()
        compiler = ProxyCompiler(CompileSettings(self.settings.default_allow))
        proof = ServerProof(keys.operator, self.log.view)
        self.measuring = Measuring(self._clock.monotonic, to_leader, proof)
        compiled, drains = Compiler(compiler.resources, compiler.depends), Drains(self._writer)
        monotonic = self._clock.monotonic
        self.canaries = Canaries(self.log, self._writer, self.measuring, self.audit, monotonic)
        tapping = Tapping(to_leader, proof, self._other_servers)
        self.proxies = Proxies(self.log, to_leader, proof, node.name, self._writer.now_ms)
        told = (self.measuring, drains, tapping, self.proxies)
        self.mesh = Mesh(self.log, self.issuer, compiled, *told, to_leader)
        credentials = Credentials(
            self._writer,
            os.urandom,
            lambda: self.identity.root_pem,
            lambda state: grpc_addresses(state, self.grpc),
        )
        self.admission = self._admission(keys)
        registration = Registration(agent, runner, credentials, self.log.view, self.admission)
        gate = Gate(self.audit, self.limits)
        self._port = port = AgentsPort(self._needs(keys, to_leader, proof, gate))
        self._closers.append(port.close)
        servers = Servers(self.measuring, self.proxies, port.lives, tapping, proof)
        server = GrpcServer(self.mesh, registration, servers, gate)
        self._closers.append(server.close)
        grpc_port = self._bind(server)
        agent_port = self._bind_agents(port)
        self.renewals = Renewals(self.log, self._clock.monotonic)
        self.leaves = ServiceLeaves(self.log, self.issuer, self._clock)
        parts = Parts(
            log=self.log,
            writer=self._writer,
            agent=agent,
            runner=runner,
            credentials=credentials,
            leaves=self.leaves,
            renewals=self.renewals,
            clock=self._clock,
            draw=draw,
            entropy=os.urandom,
            measuring=self.measuring,
            tapping=tapping,
            canaries=self.canaries,
            proxies=self.proxies,
            default_allow=self.settings.default_allow,
            server_address="" if self.settings.cluster else self.grpc,
            members=self._members,
            admission=self.admission,
            to_leader=to_leader,
            audit=self.audit,
            joining=Joining(port.enroller, port.guide),
            definitions=self.definitions,
            limits=self.limits,
            names=self._desk(replace(self.settings.dns or NO_DNS, recursors=()), draw),
            leaving=self.leaving,
            key_list_policy=bool(self.settings.acl and self.settings.acl.key_list_policy),
        )
        await self._listen(parts)
        await self._answer_dns(draw)
        await server.start()
        await port.start()
        return self._presence(node, grpc_port, agent_port), runner

    def _admission(self, keys: Keys) -> Admission | None:
        """None: whoever reaches this machine's loopback may do everything."""
        acl = self.settings.acl
        if acl is None:
            return None
        return Admission(
            keyring=keys.operator,
            datacenter=self.settings.datacenter,
            default_allow=acl.default_allow,
            management=acl.management,
            now_ms=lambda: int(self._clock.wall() * 1000),
            entropy=os.urandom,
        )

    def _to_leader(self) -> ToLeader | None:
        cluster = self.settings.cluster
        if cluster is None:
            return None
        found = ToLeader(self.log, cluster.files.current, server_name(self.settings.datacenter))
        self._closers.append(found.close)
        return found

    def _needs(self, keys: Keys, to_leader: ToLeader | None, proof: ServerProof, gate: Gate) -> Needs:
        return Needs(
            log=self.log,
            writer=self._writer,
            issuer=self.issuer,
            keyring=keys.operator,
            admission=self.admission,
            face=self.identity,
            leader=ReportsToLeader(to_leader, proof) if to_leader else None,
            clock=self._clock,
            patience=self.settings.patience,
            gate=gate,
            own=lambda: (self.agents, self.grpc, self.https),
        )

    def _bind_agents(self, port: AgentsPort) -> int:
        cluster = self.settings.cluster
        bound = port.bind(cluster.client_address if cluster else LOOPBACK, self.settings.agent_port)
        self.agents = join(cluster.advertise if cluster else LOOPBACK, bound)
        return bound

    def _bind(self, server: GrpcServer) -> int:
        cluster = self.settings.cluster
        host = cluster.client_address if cluster else LOOPBACK
        port = server.bind(host, self.settings.grpc_port, self.identity.credentials())
        self.grpc = join(cluster.advertise if cluster else LOOPBACK, port)
        return port

    async def _listen(self, parts: Parts) -> None:
        api = Api(parts)
        self._closers.append(api.close)
        self.http = join(LOOPBACK, await api.start(LOOPBACK, self.settings.http_port))
        if cluster := self.settings.cluster:
            tls = cluster.files.https_context()
            port = await api.start(cluster.client_address, cluster.https_port, tls)
            self.https = join(cluster.advertise, port)

    def _desk(self, settings: DnsSettings, draw: Callable[[], float]) -> Desk:
        admission = self.admission
        return Desk(
            settings.choices,
            self.log.view,
            lambda state: caller_of(admission, state, settings.token),
            lambda state, owner: admission.by_accessor(state, owner) if admission else EVERYBODY,
            self._clock.wall,
            draw,
            recursion=bool(settings.recursors),
        )

    async def _answer_dns(self, draw: Callable[[], float]) -> None:
        settings = self.settings.dns
        if settings is None:
            return
        desk = self._desk(settings, draw)
        server = DnsServer(
            desk, Recursors(settings.recursors, os.urandom), self._clock.monotonic, self.audit, self.limits
        )
        self._closers.append(server.close)
        cluster = self.settings.cluster
        port = await server.start(cluster.client_address if cluster else LOOPBACK, settings.port)
        self.dns = join(cluster.advertise if cluster else LOOPBACK, port)

    def _presence(self, node: Node, grpc_port: int, agent_port: int) -> Presence:
        peer_port = int(self.log.address.rpartition(":")[2])
        return Presence(
            self.log,
            self._writer,
            node,
            server_id=self.log.server_id,
            port=peer_port if self.settings.cluster else grpc_port,
            grpc_port=grpc_port,
            https_port=int(self.https.rpartition(":")[2] or 0),
            agent_port=agent_port,
            members=self._members,
        )

    async def _join_in(self, presence: Presence, runner: Runner, signing: SigningKey) -> None:
        """From a server that knows nobody to a member that does its part."""
        await self._form()
        await self._until_named()
        _check_datacenter(self.settings, self.log.view())
        await presence.begin()
        self._begin_work(presence, runner)
        await self._check_operator_key(signing)

    async def _form(self) -> None:
        """In etcd there is nothing to form: whoever may write to it belongs."""
        if (cluster := self.settings.cluster) and isinstance(self.log, Replica):
            formation = Formation(self.log, cluster.bootstrap_expect, cluster.retry_join)
            await formation.run()
            self._watch(formation.belongs, "membership")

    async def _until_named(self) -> None:
        """Whoever leads names the cluster; the others wait for that."""
        while self.log.view().cluster is None:
            if self.log.status().is_leader:
                try:
                    await _ensure_cluster(self._writer, self.settings.datacenter)
                except (Unavailable, Conflict) as error:
                    log.warning("the cluster is not named yet", reason=str(error))
            await asyncio.sleep(NAME_RETRY_S)

    async def _check_operator_key(self, signing: SigningKey) -> None:
        """Raises KeyUnusable: a server that could not sign must not come to lead."""
        while (state := self.log.view()).ca().rows.key is None:
            await self.log.wait((watches.AUTHORITY,), state.index, KEY_RECHECK_S)
        signing.of(self.log.view())

    def _begin_work(self, presence: Presence, runner: Runner) -> None:
        self._watch(presence.keep, "presence")
        self.tasks.spawn(runner.run(), "checks")
        self.tasks.spawn(self.definitions.run(), "definitions")
        self.tasks.spawn(self.measuring.run(), "measurements for the leader")
        self.tasks.spawn(self.canaries.run(), "canaries")
        self.tasks.spawn(
            Duties(
                self.log,
                self._writer,
                self._members,
                self.renewals,
                self.admission,
                Experiments(self._writer, self.measuring, self.audit),
            ).run(),
            "duties of the leader",
        )
        self.tasks.spawn(self.rotation.run(), "rotation of the CA")
        self.tasks.spawn(self._port.lives.run(), "lives of agents")

    def _watch(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Runs what the process must not go on without."""

        async def watched() -> None:
            try:
                await work()
            except NotReady as error:  # the log closes
                log.debug("a task ends", task=name, reason=str(error))
            except Exception as error:
                if not self._failure.done():
                    self._failure.set_result(error)

        self.tasks.spawn(watched(), name)

    async def reload(self) -> None:
        """As `PUT /v1/agent/reload`. Raises what DefinitionFiles.reload raises."""
        await self.definitions.reload()

    async def failed(self) -> BaseException:
        """Returns only when the process has to end."""
        stopped = self.tasks.spawn(self.log.failed(), "log failure")
        broken = asyncio.shield(self._failure)
        done, _ = await asyncio.wait((stopped, broken), return_when=asyncio.FIRST_COMPLETED)
        failure: BaseException = done.pop().result()
        return failure

    @property
    def registry_ca_pem(self) -> str:
        """The root that sidecars pin."""
        return self.identity.root_pem

    @property
    def trust_domain(self) -> str:
        """ "" until the cluster is named."""
        cluster = self.log.view().cluster
        return cluster.trust_domain if cluster else ""

    def told(self) -> dict[str, str]:
        """Where to connect, for the ready file."""
        return {
            "http": self.http,
            "https": self.https,
            "grpc": self.grpc,
            "dns": self.dns,
            "agents": self.agents,
            "server": self.log.address,
            "server_id": self.log.server_id,
            "node": self.node,
            "registry_ca_pem": self.registry_ca_pem,
            "trust_domain": self.trust_domain,
        }

    async def close(self) -> None:
        """Ends streams, stops listening, closes the log; what was answered is durable already."""
        await self.tasks.close()
        for closer in reversed(self._closers):
            ending = closer()
            if asyncio.iscoroutine(ending):
                await ending
        await self.log.close()


def _keys(settings: Settings, state: State) -> Keys:
    if settings.cluster:
        return cluster_keys(os.environ, settings.operator_key_file)
    if settings.data_dir is None:
        return memory_keys(os.environ, settings.operator_key_file)
    return file_keys(settings.data_dir, state, os.environ, settings.operator_key_file)


def _check_datacenter(settings: Settings, state: State) -> None:
    """Raises ConfigError when the catalog is another datacenter's."""
    if state.cluster and state.cluster.datacenter != settings.datacenter:
        raise ConfigError(
            f"--datacenter {settings.datacenter}: the data directory is of {state.cluster.datacenter}; "
            "give that name, or another directory"
        )


async def _ensure_cluster(writer: Writer, datacenter: str) -> None:
    """The cluster's name for ever: chosen at the first start."""
    if writer.view().cluster is None:
        cluster_id = str(uuid.UUID(bytes=os.urandom(16), version=4))
        cluster = Cluster(cluster_id, datacenter, f"{cluster_id}.consul")  # Consul's form of a trust domain
        await writer.propose(lambda stamp: commands.init_cluster(stamp, cluster))
