"""Alias checks that follow another node: only servers know that one."""

from collections.abc import Callable
from urllib.parse import quote

from weft.errors import WeftError

from ..agent import alias
from ..agent.status import Outcome
from ..catalog.model import Check
from .plan import Json
from .servers import Servers


class RemoteAlias:
    """Asks `servers`, with the agent's own token."""

    def __init__(self, servers: Servers, token: Callable[[], str]) -> None:
        self._servers = servers
        self._token = token

    async def look(self, check: Check) -> Outcome | None:
        """What the check says now; None where no server tells, and the last verdict stands."""
        node = quote(check.definition.alias_node, safe="")
        try:
            known = await self._servers.ask("GET", f"/v1/catalog/node/{node}", self._token())
            checks = await self._servers.ask("GET", f"/v1/health/node/{node}", self._token())
            if (known.status, checks.status) != (200, 200):
                return None
            return outcome(check, known.json(), checks.json())
        except WeftError:
            return None


def outcome(check: Check, node: Json | None, checks: list[Json]) -> Outcome:
    """`node` as catalog/node has it, None where there is no such node; `checks` as health/node has them."""
    rows = [
        Check(
            row["Node"],
            row["CheckID"],
            row["Name"],
            row["Status"],
            output=row["Output"],
            service_id=row["ServiceID"],
        )
        for row in checks
    ]
    services = node["Services"] if node else ()
    return alias.judged(check, node is not None, check.definition.alias_service in services, rows)
