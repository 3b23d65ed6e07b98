"""The subscription: deltas in, acknowledged snapshots out, for as long as the process lives."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping

import structlog

from weft import __version__
from weft.pb.mesh.v1 import mesh_pb2

from .errors import InvalidResource, RegistryUnreachable
from .policy.compile import compile_snapshot
from .policy.renewal import backoff_s
from .session import Session
from .snapshot import Snapshot
from .telemetry import Telemetry

REASON_CHARS_MAX = 500  # of a refusal, in its Ack
VERSION_CHARS = 16  # of the configuration's hash; enough to tell two apart in a dashboard

Resources = Mapping[str, mesh_pb2.Resource]

log = structlog.get_logger(__name__)


class Subscription:
    """Keeps a proxy's configuration current.

    `take` is awaited with each new snapshot and what it was compiled from; when it raises InvalidResource
    the delta is refused and what was served before stays. `resources` is what a cache held.
    """

    def __init__(
        self,
        session: Session,
        take: Callable[[Snapshot, Resources], Awaitable[None]],
        rng: random.Random,
        telemetry: Telemetry,
        resources: Resources | None = None,
    ) -> None:
        self._session = session
        self._take = take
        self._rng = rng
        self._telemetry = telemetry
        # What is served. The registry counts a refused delta as not held, so the next one starts from here.
        self._held: Resources = dict(resources or {})
        self._failures = 0

    async def run(self) -> None:
        """Connects again for ever. Raises CredentialRejected, and what `take` raises."""
        while True:
            try:
                await self._follow()
            except RegistryUnreachable as error:
                await self._wait(error)
            finally:
                self._telemetry.registry_connected = False

    async def _follow(self) -> None:
        versions = {name: resource.version for name, resource in self._held.items()}
        hello = mesh_pb2.Hello(versions=versions, sidecar_version=__version__)
        await self._session.subscribe(hello, self._apply)

    async def _wait(self, error: RegistryUnreachable) -> None:
        self._failures += 1
        wait_s = backoff_s(self._failures, self._rng.random())
        log.warning("registry not connected", error=str(error), retry_in_s=round(wait_s, 2))
        await self._session.next_address()
        await asyncio.sleep(wait_s)

    async def _apply(self, delta: mesh_pb2.Delta) -> mesh_pb2.Ack:
        self._failures = 0
        self._telemetry.registry_connected = True
        resources = merged(self._held, delta)
        try:
            await self._take(compile_snapshot(resources, delta.index), resources)
        except InvalidResource as error:
            self._telemetry.deltas_refused += 1
            log.error("configuration refused", error=str(error), index=delta.index)
            return mesh_pb2.Ack(nonce=delta.nonce, error=str(error)[:REASON_CHARS_MAX])
        self._held = resources
        self._note(delta.index)
        return mesh_pb2.Ack(nonce=delta.nonce)

    def _note(self, index: int) -> None:
        self._telemetry.deltas_applied += 1
        self._telemetry.config_index = index
        self._telemetry.config_version = version_of(self._held)
        log.info("configuration applied", index=index, version=self._telemetry.config_version)


def merged(held: Resources, delta: mesh_pb2.Delta) -> dict[str, mesh_pb2.Resource]:
    """What `delta` makes of the resources held."""
    removed = frozenset(delta.removed)
    kept = {name: resource for name, resource in held.items() if name not in removed}
    return kept | {resource.name: resource for resource in delta.upserts}


def version_of(resources: Resources) -> str:
    """A content hash of a whole configuration: equal on two proxies that were told the same."""
    content = hashlib.sha256()
    for name in sorted(resources):
        content.update(f"{name}\0{resources[name].version}\0".encode())
    return content.hexdigest()[:VERSION_CHARS]
