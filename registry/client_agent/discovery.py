"""Where the servers are, as they say of each other: one that is known leads to all."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog

from weft.clock import Clock
from weft.errors import WeftError

from ..catalog.feature_level import SERVER_SERVICE
from ..machine import join
from ..operator.servers import HTTPS_META
from .servers import Servers

log = structlog.get_logger(__name__)

LOOK_S = 60.0  # and up to as much again by chance
RETRY_S = 5.0
TARGET = f"/v1/health/service/{SERVER_SERVICE}?passing&stale"


class Discovery:
    """Keeps the fleet of `servers` up to date. `token` is the agent's own."""

    def __init__(
        self, servers: Servers, token: Callable[[], str], clock: Clock, draw: Callable[[], float]
    ) -> None:
        self._servers = servers
        self._token = token
        self._clock = clock
        self._draw = draw

    async def run(self) -> None:
        """For ever."""
        while True:
            found = await self._look()
            await asyncio.sleep(LOOK_S * (1 + self._draw()) if found else RETRY_S)

    async def _look(self) -> bool:
        try:
            told = await self._servers.ask("GET", TARGET, self._token())
            rows = told.json() if told.status == 200 else None
        except WeftError as error:
            log.debug("servers are not looked up", reason=str(error))
            return False
        if rows is None:
            return False
        if found := tuple(https_addresses(rows)):  # none: the token may not read them, or they have no HTTPS
            before = self._servers.fleet.addresses
            self._servers.fleet.learn(found, self._clock.monotonic())
            if set(before) != set(self._servers.fleet.addresses):
                log.info("servers", known=self._servers.fleet.addresses)
        return True


def https_addresses(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """`host:port` of each server that says so."""
    for row in rows:
        port = row["Service"]["Meta"].get(HTTPS_META, "")
        host = row["Service"]["Address"] or row["Node"]["Address"]
        if port.isascii() and port.isdigit():
            yield join(host, int(port))
