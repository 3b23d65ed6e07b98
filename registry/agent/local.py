"""Registrations of this node: definitions in, commands out.

The replicated catalog is the only copy of what is registered here. What a restart must bring back is
therefore there, check definitions included.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from ..acl.access import Access
from ..acl.caller import EVERYBODY, Caller
from ..catalog import commands
from ..catalog.feature_level import SERVER_SERVICE
from ..catalog.model import Check, Node, Service, instance_key
from ..catalog.state import State
from . import maintenance
from .check_definition import CheckSpec, with_floor
from .errors import InvalidDefinition, NoPortLeft, NotTtl, UnknownCheck, UnknownService
from .permission import may_write_check, may_write_service
from .scripts import ScriptPolicy, refuse_scripts
from .service_definition import Home, ServiceSpec, parse_service
from .sidecar_service import PORTS, expand, sidecar_id
from .writer import Writer

OUTPUT_CHARS_MAX = 4096  # as the catalog takes; Consul cuts at 4 KiB too


class Agent:
    """One node's registrations. `port_free` tells whether a port can be bound on this machine."""

    def __init__(
        self,
        writer: Writer,
        node: Node,
        port_free: Callable[[int], bool],
        scripts: ScriptPolicy = ScriptPolicy.OFF,
    ) -> None:
        self._writer = writer
        self.node = node
        self.home = Home(node.name, node.datacenter)
        self._port_free = port_free
        self._scripts = scripts
        self._choosing_port = asyncio.Lock()

    def services(self) -> tuple[Service, ...]:
        """What is registered here, in order of id; the registry's own entry is not."""
        rows = self._view().services.prefix((self.node.name,))
        return tuple(row for row in rows if row.id != SERVER_SERVICE)

    def checks(self) -> tuple[Check, ...]:
        """Checks of services here, in order of id; the node's own liveness is not the agent's."""
        rows = self._view().checks.prefix((self.node.name,))
        return tuple(row for row in rows if row.type)

    def service(self, service_id: str) -> Service:
        """Raises UnknownService."""
        row = self._view().services.get((self.node.name, service_id))
        if row is None or row.id == SERVER_SERVICE:
            raise UnknownService(
                f'Unknown service ID "{service_id}". '
                "Ensure that the service ID is passed, not the service name."
            )
        return row

    def check(self, check_id: str) -> Check:
        """Raises UnknownCheck."""
        row = self._view().checks.get((self.node.name, check_id))
        if row is None or not row.type:
            raise UnknownCheck(
                f'Unknown check ID "{check_id}". Ensure that the check ID is passed, not the check name.'
            )
        return row

    async def register(self, definition: bytes, caller: Caller, *, replace_checks: bool = False) -> str:
        """Registers a service and its sidecar, all or nothing; checks that exist keep their status.

        Answers the key of the instance, which its sidecar's credential is bound to.
        Raises Undecodable, InvalidDefinition, NoPortLeft, PermissionDenied, and what Log.propose raises.
        """
        spec = parse_service(definition, self.home)
        if spec.service.id == SERVER_SERVICE:
            raise InvalidDefinition(f'Invalid service ID "{SERVER_SERVICE}": it is the registry\'s own')
        if spec.sidecar is None:
            await self._propose([spec], caller, replace_checks)
        else:
            # A port is taken once the catalog has it: two registrations must not choose at once.
            async with self._choosing_port:
                proxy = expand(spec, self._sidecar_port(spec))
                await self._propose([spec, proxy], caller, replace_checks)
        return spec.service.instance_key

    async def _propose(self, specs: list[ServiceSpec], caller: Caller, replace_checks: bool) -> None:
        view = self._view()
        rows = [spec.service for spec in specs]
        for row in rows:
            may_write_service(caller, row)
            if old := view.services.get((row.node, row.id)):  # an id is not taken from another service
                may_write_service(caller, old)
        checks = [self._continued(view, check) for spec in specs for check in spec.checks]
        self._permit_scripts(checks)
        replaced = [row.id for row in rows] if replace_checks else []
        await self._writer.propose(
            lambda stamp: commands.register(stamp, self.node, rows, checks, replace_checks_of=replaced)
        )

    async def define(self, services: Sequence[ServiceSpec], checks: Sequence[CheckSpec]) -> None:
        """Registers what files of this machine say, all or nothing. Statuses stay, as in `register`.

        Raises InvalidDefinition, NoPortLeft, and what Log.propose raises.
        """
        async with self._choosing_port:
            specs, taken = list(services), set[int]()
            for spec in services:
                if spec.sidecar is not None:
                    port = self._sidecar_port(spec, taken)
                    taken.add(port)
                    specs.append(expand(spec, port))
            rows = [spec.service for spec in specs]
            found = [check for spec in specs for check in spec.checks]
            found += [check_row(spec, self.node.name) for spec in checks]
            self._permit_scripts(found, local=True)
            view = self._view()
            continued = [self._continued(view, check) for check in found]
            await self._writer.propose(lambda stamp: commands.register(stamp, self.node, rows, continued))

    async def withdraw(self, service_ids: Iterable[str], check_ids: Iterable[str]) -> None:
        """Removes those that are still here, with their sidecars. Raises what Log.propose raises."""
        for service_id in service_ids:
            with suppress(UnknownService):
                await self.deregister(service_id, EVERYBODY)
        for check_id in check_ids:
            with suppress(UnknownCheck):
                await self.deregister_check(check_id, EVERYBODY)

    def _continued(self, view: State, check: Check) -> Check:
        """Registering again is no news about health: an existing check keeps status and output."""
        old = view.checks.get((check.node, check.id))
        return replace(check, status=old.status, output=old.output) if old else check

    def _sidecar_port(self, spec: ServiceSpec, promised: Collection[int] = ()) -> int:
        asked = spec.sidecar.service.port if spec.sidecar else 0
        if asked:
            return asked
        mine = sidecar_id(spec.service.id)
        view = self._view()
        if (old := view.services.get((self.node.name, mine))) and old.port:
            return old.port
        taken = {row.port for row in view.services.prefix((self.node.name,))}
        for port in PORTS:
            if port not in taken and port not in promised and self._port_free(port):
                return port
        raise NoPortLeft(
            f"no port left for a sidecar between {PORTS[0]} and {PORTS[-1]}: give SidecarService.Port"
        )

    async def deregister(self, service_id: str, caller: Caller) -> None:
        """Removes an instance and its sidecar.

        Raises UnknownService, PermissionDenied, and what Log.propose raises.
        """
        may_write_service(caller, self.service(service_id))
        ids = [service_id]
        sidecar = self._view().services.get((self.node.name, sidecar_id(service_id)))
        if sidecar and sidecar.proxy and sidecar.proxy.destination_service_id == service_id:
            ids.append(sidecar.id)
        await self._writer.propose(lambda stamp: commands.deregister_services(stamp, self.node.name, ids))

    async def register_check(self, spec: CheckSpec, caller: Caller) -> None:
        """Adds a check to a service of this node, or to the node itself.

        Raises InvalidDefinition, UnknownService, PermissionDenied, and what Log.propose raises.
        """
        if not spec.name:
            raise InvalidDefinition("Missing check name")
        if spec.service_id and (self.node.name, spec.service_id) not in self._service_keys():
            raise UnknownService(f'ServiceID "{spec.service_id}" does not exist')
        row = check_row(spec, self.node.name)
        self._permit_check(row, caller)
        self._permit_scripts([row])
        row = self._continued(self._view(), row)
        await self._writer.propose(lambda stamp: commands.register(stamp, self.node, (), [row]))

    def _permit_scripts(self, rows: list[Check], *, local: bool = False) -> None:
        """Raises InvalidDefinition. `local`: files of this machine say it, and not the API."""
        if any(row.definition.args for row in rows):
            refuse_scripts(self._scripts, local=local)

    def _permit_check(self, row: Check, caller: Caller) -> None:
        if row.service_id:
            may_write_service(caller, self.service(row.service_id))
        else:
            may_write_check(caller, row)
        if old := self._view().checks.get((row.node, row.id)):
            may_write_check(caller, old)

    def _service_keys(self) -> set[tuple[str, str]]:
        return {(row.node, row.id) for row in self.services()}

    async def deregister_check(self, check_id: str, caller: Caller) -> None:
        """Raises UnknownCheck, PermissionDenied, and what Log.propose raises."""
        may_write_check(caller, self.check(check_id))
        await self._writer.propose(lambda stamp: commands.deregister_check(stamp, self.node.name, check_id))

    async def maintain_node(self, enable: bool, reason: str, caller: Caller) -> None:
        """Takes the whole node out of what is healthy, or lets it in again.

        Raises PermissionDenied, and what Log.propose raises.
        """
        caller.require("node", self.node.name, Access.WRITE)
        await self._maintain(maintenance.of_node(self.node.name, reason), enable)

    async def maintain_service(self, service_id: str, enable: bool, reason: str, caller: Caller) -> None:
        """The same for one service. Raises UnknownService, PermissionDenied, and what Log.propose raises."""
        row = self.service(service_id)
        may_write_service(caller, row)
        await self._maintain(maintenance.of_service(row, reason), enable)

    async def _maintain(self, row: Check, enable: bool) -> None:
        """Enabling twice keeps the first reason, as in Consul."""
        if enable == ((row.node, row.id) in self._view().checks):
            return
        if enable:
            await self._writer.propose(lambda stamp: commands.register(stamp, self.node, (), [row]))
        else:
            await self._writer.propose(lambda stamp: commands.deregister_check(stamp, row.node, row.id))

    def ttl_check(self, check_id: str) -> Check:
        """The check, which takes its status from a caller. Raises UnknownCheck, NotTtl."""
        row = self.check(check_id)
        if row.type != "ttl":
            raise NotTtl(f'CheckID "{check_id}" does not have associated TTL')
        return row

    async def set_status(self, check: Check, status: str, output: str) -> None:
        """Writes a check's status. Raises what Log.propose raises."""
        await self._writer.propose(
            lambda stamp: commands.update_check(
                stamp, check.node, check.id, status, output[:OUTPUT_CHARS_MAX]
            )
        )

    def instance_key(self, service_id: str) -> str:
        return instance_key(self.node.datacenter, self.node.name, service_id)

    def _view(self) -> State:
        return self._writer.view()


def check_row(spec: CheckSpec, node: str) -> Check:
    """A check that was given for itself. Raises InvalidDefinition."""
    if not spec.name:
        raise InvalidDefinition("Missing check name")
    row = spec.row(node, spec.service_id, spec.name, spec.name)
    return replace(row, definition=with_floor(row.definition))
