"""Sidecars as the servers see them: who is connected, and whether it has taken what it was sent.

Each server knows those that subscribe with it; whoever is asked for all of them asks the other servers.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import grpc
import structlog

from weft.errors import WeftError
from weft.pb.server.v1.server_pb2 import ProxiesResponse
from weft.pb.server.v1.server_pb2 import ProxyStatus as ProxyMessage

from ..identity.server_proof import ServerProof
from ..replica.port import Log
from .forward import ToLeader
from .servers import GRPC_META, Registered, others

log = structlog.get_logger(__name__)

REFUSED, WAITING, SYNCED = "refused", "waiting", "synced"


@dataclass(slots=True)
class ProxyStatus:
    """One subscription; the stream that has it keeps this true. Times are Unix milliseconds."""

    instance_key: str
    service: str
    sidecar_version: str
    since_ms: int
    index: int = 0  # catalog index of the newest configuration that it has taken
    sent_index: int = 0
    waiting: bool = False  # for its answer
    refused: str = ""  # why it did not take the newest one

    @property
    def state(self) -> str:
        return REFUSED if self.refused else WAITING if self.waiting else SYNCED

    def sent(self, index: int) -> None:
        self.sent_index, self.waiting = index, True

    def answered(self, refused: str) -> None:
        """`refused` is "" where it was taken."""
        self.waiting, self.refused = False, refused
        if not refused:
            self.index = self.sent_index


class Found(NamedTuple):
    """A sidecar and the server that it subscribes with."""

    server: str
    proxy: ProxyStatus


class Proxies:
    """`own_name` is the node of this server; `to_leader` is None where it is the only one."""

    def __init__(
        self,
        replica: Log,
        to_leader: ToLeader | None,
        proof: ServerProof,
        own_name: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._log = replica
        self._to_leader = to_leader
        self._proof = proof
        self._own_name = own_name
        self._now_ms = now_ms
        self._here: list[ProxyStatus] = []

    @contextmanager
    def subscribed(self, instance_key: str, service: str, sidecar_version: str) -> Iterator[ProxyStatus]:
        """While its subscription lasts."""
        status = ProxyStatus(instance_key, service, sidecar_version, self._now_ms())
        self._here.append(status)
        try:
            yield status
        finally:
            self._here = [other for other in self._here if other is not status]

    @property
    def here(self) -> tuple[ProxyStatus, ...]:
        return tuple(self._here)

    async def everywhere(self) -> tuple[tuple[Found, ...], tuple[str, ...]]:
        """All sidecars by instance, and the names of servers that do not answer for theirs."""
        found = [Found(self._own_name, status) for status in self._here]
        rows = others(self._log.view(), self._log.status().server_id) if self._to_leader else ()
        answers = await asyncio.gather(*(self._of(row) for row in rows))
        for row, answer in zip(rows, answers, strict=True):
            found += [Found(row.node.name, status) for status in answer or ()]
        silent = (row.node.name for row, answer in zip(rows, answers, strict=True) if answer is None)
        return tuple(sorted(found, key=lambda it: (it.proxy.instance_key, it.server))), tuple(silent)

    async def _of(self, row: Registered) -> list[ProxyStatus] | None:
        """None where it does not answer."""
        assert self._to_leader is not None  # for the type checker
        try:
            answer = await self._to_leader.proxies(row.address(GRPC_META), (self._proof.metadata(),))
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        except WeftError as error:
            reason = str(error)
        else:
            return [_of_message(message) for message in answer.proxies]
        log.info("a server does not tell of its sidecars", server=row.node.name, reason=reason)
        return None


def proxies_response(statuses: tuple[ProxyStatus, ...]) -> ProxiesResponse:
    """For another server."""
    return ProxiesResponse(
        proxies=[
            ProxyMessage(
                instance_key=it.instance_key,
                service=it.service,
                sidecar_version=it.sidecar_version,
                since_unix_ms=it.since_ms,
                index=it.index,
                sent_index=it.sent_index,
                waiting=it.waiting,
                refused=it.refused,
            )
            for it in statuses
        ]
    )


def _of_message(it: ProxyMessage) -> ProxyStatus:
    return ProxyStatus(
        it.instance_key,
        it.service,
        it.sidecar_version,
        it.since_unix_ms,
        it.index,
        it.sent_index,
        it.waiting,
        it.refused,
    )
