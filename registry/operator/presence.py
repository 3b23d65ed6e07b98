"""A server's own entry in the catalog: its node, that it is alive, and where it listens."""

import asyncio
from dataclasses import replace

import structlog

from weft import __version__
from weft.errors import ConfigError, EnvironmentProblem, Unavailable

from ..agent.writer import Writer
from ..catalog import commands, watches
from ..catalog.feature_level import ID_META, LEVEL_META, SERVER_SERVICE
from ..catalog.model import (
    NO_INDEXES,
    NODE_ALIVE_ID,
    NODE_ALIVE_NAME,
    NODE_ALIVE_OUTPUT,
    PASSING,
    Check,
    Node,
    Service,
)
from ..catalog.state import State
from ..replica.port import Log
from .servers import AGENT_META, GRPC_META, HTTPS_META, VERSION_META, Members

log = structlog.get_logger(__name__)

RECHECK_S = 60.0
RETRY_S = 0.5


class Presence:
    """`port` is what the service `consul` shows; ports of 0 are left out."""

    def __init__(
        self,
        replica: Log,
        writer: Writer,
        node: Node,
        *,
        server_id: str,
        port: int,
        grpc_port: int,
        https_port: int = 0,
        agent_port: int = 0,
        members: Members | None = None,
    ) -> None:
        self._log = replica
        self._writer = writer
        self._node = node
        self._members = members
        named = {
            ID_META: server_id,
            GRPC_META: str(grpc_port or ""),
            HTTPS_META: str(https_port or ""),
            AGENT_META: str(agent_port or ""),
            VERSION_META: __version__,
            LEVEL_META: str(commands.COMMAND_VERSION),
        }
        meta = {name: value for name, value in named.items() if value}
        self._service = Service(
            node.name, SERVER_SERVICE, SERVER_SERVICE, node.datacenter, port=port, meta=meta
        )

    async def tell(self) -> None:
        """Registers. Raises ConfigError when another server of the cluster has the node's name, and what
        Log.propose raises."""
        self._check_name(self._log.view())
        alive = Check(self._node.name, NODE_ALIVE_ID, NODE_ALIVE_NAME, PASSING, output=NODE_ALIVE_OUTPUT)
        await self._writer.propose(
            lambda stamp: commands.register(stamp, self._node, [self._service], [alive])
        )

    async def begin(self) -> None:
        """Registers, as soon as somebody leads. Raises ConfigError as `tell`."""
        while True:
            try:
                return await self.tell()
            except (Unavailable, EnvironmentProblem) as error:
                log.warning("this server is not in the catalog yet", reason=str(error))
            await asyncio.sleep(RETRY_S)

    def _check_name(self, state: State) -> None:
        known = state.services.get((self._node.name, SERVER_SERVICE))
        other = known.meta.get(ID_META, "") if known else ""
        members = {member.id for member in self._members.members()} if self._members else set()
        if other in members and other != self._service.meta.get(ID_META):
            raise ConfigError(
                f"--node-name {self._node.name}: another server of the cluster has it ({other}); "
                "give this one a name of its own"
            )

    async def keep(self) -> None:
        """For ever: registers again when the entry has gone or changed, as after a restored snapshot."""
        while True:
            state = self._log.view()
            if not self._is_told(state):
                await self.begin()
                log.info("the server's own entry is written anew", node=self._node.name)
            await self._log.wait((watches.node(self._node.name),), state.index, RECHECK_S)

    def _is_told(self, state: State) -> bool:
        node = state.nodes.get((self._node.name,))
        service = state.services.get((self._node.name, SERVER_SERVICE))
        if node is None or service is None:
            return False
        return (replace(node, indexes=NO_INDEXES), replace(service, indexes=NO_INDEXES)) == (
            self._node,
            self._service,
        )
