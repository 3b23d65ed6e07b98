"""Credentials of instances that are registered here: made by a server, which knows the instance first."""

import asyncio

from weft.credential import Credential

from ..api.views import health_service
from ..catalog.model import Node, split_instance_key
from ..errors import NoServers, NotFound
from ..replica.port import Log
from .errors import ServerRefused
from .local_view import body
from .servers import Servers
from .sync import REGISTER, Sync
from .tokens import KeptTokens

KNOWN_WITHIN_S = 10.0


class RemoteMinter:
    """Asks `servers` for them, with the token that the service was registered with."""

    def __init__(self, local: Log, node: Node, servers: Servers, tokens: KeptTokens, sync: Sync) -> None:
        self._local = local
        self._node = node
        self._servers = servers
        self._tokens = tokens
        self._sync = sync

    async def mint(self, instance_key: str) -> Credential:
        """Raises NotFound where it was deregistered meanwhile, NoServers, OutcomeUnknown, ServerRefused."""
        try:
            async with asyncio.timeout(KNOWN_WITHIN_S):
                await self._sync.told()
        except TimeoutError:
            raise NoServers("No known Consul servers") from None
        _, _, service_id = split_instance_key(instance_key)
        service = self._local.view().services.get((self._node.name, service_id))
        if service is None:
            raise NotFound(f"the service {service_id} is not registered here any more: register it again")
        told = await self._servers.ask(
            "PUT",
            f"{REGISTER}?credential",
            self._tokens.of_service(service_id),
            body(self._node, health_service(service)),
        )
        if told.status != 200:
            raise ServerRefused(f"the credential of {service_id}", told.status, told.body)
        return Credential.from_json(told.body)
