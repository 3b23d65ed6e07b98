"""What the leader does for the others: says who is dead, removes who is dead for good, drops what expired.

Every server runs this; whoever does not lead only waits. Each step is a command or a change of the members,
so a leader that is replaced in between leaves nothing half-done.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from weft.errors import WeftError
from weft.pb.catalog.v1.command_pb2 import Command

from ..agent.writer import Writer
from ..catalog import acl_commands, addresses, commands, expiry, session_commands
from ..catalog.acl_commands import Mode
from ..catalog.commands import Stamp
from ..catalog.model import CRITICAL, NODE_ALIVE_ID, NODE_ALIVE_OUTPUT, PASSING
from ..errors import CommandRefused
from ..identity.admission import Admission
from ..replica.port import Log
from .autopilot import FAILED_AFTER_S, removable
from .experiments import Experiments
from .renewals import Renewals
from .servers import Members, Server, registered, servers

log = structlog.get_logger(__name__)

LOOK_S = 1.0
HOUSEKEEPING_S = 15.0  # how late what has expired is dropped; nothing waits for it
SILENT_OUTPUT = "The leader does not hear this server"


class Duties:
    """`members` is None where the consensus engine keeps its own."""

    def __init__(
        self,
        replica: Log,
        writer: Writer,
        members: Members | None,
        renewals: Renewals,
        admission: Admission | None = None,
        experiments: Experiments | None = None,
    ) -> None:
        self._log = replica
        self._writer = writer
        self._members = members
        self._renewals = renewals
        self._admission = admission
        self._experiments = experiments
        self._rounds = 0

    async def run(self) -> None:
        """For ever."""
        every = round(HOUSEKEEPING_S / LOOK_S)
        while True:
            await asyncio.sleep(LOOK_S)
            self._rounds += 1
            if not self._log.status().is_leader:
                continue
            try:
                await self._write_management_token()
                await self._give_addresses()
                await self._look_after_servers()
                await self._end_sessions()
                if self._experiments:
                    await self._experiments.look()
                if self._rounds % every == 0:
                    await self._expire()
            except WeftError as error:
                log.warning("a duty of the leader is put off", reason=str(error))

    async def _write_management_token(self) -> None:
        """The operator's token as a row, so that it is listed, and can be told by its accessor."""
        state = self._log.view()
        row = self._admission.management_row(state) if self._admission and state.cluster else None
        if row is not None:
            await self._refusable(lambda stamp: acl_commands.set_acl(stamp, [row], Mode.CREATE))

    async def _give_addresses(self) -> None:
        """Once every server knows what a virtual address is; refused until then."""
        state = self._log.view()
        if state.cluster and not state.addressing:
            await self._refusable(addresses.give_addresses)

    async def _end_sessions(self) -> None:
        """Those that nobody has renewed in time."""
        for row in self._renewals.over(self._log.view()):
            await self._refusable(
                partial(session_commands.end_session, session_id=row.id, expected_index=row.indexes.create)
            )

    async def _expire(self) -> None:
        """`apply` itself never looks at a clock."""
        while expiry.due(self._writer.view(), self._writer.now_ms()):
            await self._writer.propose(commands.expire)

    async def _look_after_servers(self) -> None:
        if self._members is None:
            return
        found = servers(self._log.view(), self._members.members())
        for server in found:
            await self._tell(server)
        for server_id in removable(found, self._log.view().autopilot):
            log.warning("a dead server is removed", server=server_id)
            await self._members.remove(server_id)
        await self._forget_strangers()

    async def _tell(self, server: Server) -> None:
        """Writes down whether a server is heard; what runs on a dead one is not healthy either."""
        contact = server.member.last_contact_s
        if server.registered is None or contact is None:
            return
        silent = contact >= FAILED_AFTER_S
        if silent == (not server.registered.alive):
            return
        node = server.registered.node.name
        status, output = (CRITICAL, SILENT_OUTPUT) if silent else (PASSING, NODE_ALIVE_OUTPUT)
        log.warning("a server is not heard" if silent else "a server is heard again", node=node)
        await self._refusable(lambda stamp: commands.update_check(stamp, node, NODE_ALIVE_ID, status, output))

    async def _forget_strangers(self) -> None:
        """Nodes of servers that are members no more: nobody keeps their checks any longer."""
        assert self._members is not None  # for the type checker
        ids = {member.id for member in self._members.members()}
        for row in registered(self._log.view()):
            if row.server_id and row.server_id not in ids:
                log.warning("the node of a removed server is dropped", node=row.node.name)
                await self._refusable(partial(commands.deregister_node, node=row.node.name))

    async def _refusable(self, build: Callable[[Stamp], Command]) -> None:
        """A command about rows that may have gone meanwhile."""
        with suppress(CommandRefused):
            await self._writer.propose(build)
