"""A registry as a sidecar sees one: real gRPC over real TLS, a real CA, and a script of deltas."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import LEAF_TTL_DEFAULT, issue_leaf
from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import private_pem
from ca.server_identity import issue_server, new_server_root
from tests.support import resources as make
from tests.support.pki import DER, Domain
from weft.credential import METADATA_KEY, Credential, new_secret
from weft.pb.mesh.v1 import mesh_pb2, mesh_pb2_grpc, observe_pb2
from weft.spiffe import SpiffeId


@dataclass
class Heard:
    """What a sidecar said."""

    hellos: list[mesh_pb2.Hello] = field(default_factory=list)
    acks: list[mesh_pb2.Ack] = field(default_factory=list)
    asked: int = 0  # how often a signature was asked for
    csrs: list[bytes] = field(default_factory=list)
    observations: list[observe_pb2.Observation] = field(default_factory=list)
    observed: int = 0  # how often a stream of observations began


class FakeRegistry(mesh_pb2_grpc.MeshServicer):
    """One service instance, `make.WEB_KEY`. `push` sends a delta to whoever is subscribed."""

    def __init__(self, leaf_ttl: timedelta = LEAF_TTL_DEFAULT) -> None:
        self.domain = Domain(make.TRUST_DOMAIN, datetime.now(UTC))
        self.identity = SpiffeId(make.TRUST_DOMAIN, "dc1", "web")
        self.leaf_ttl = leaf_ttl
        self.resources = make.all_resources()
        self.set(make.bundle(self.domain.root_der))
        self.index = 10
        self.heard = Heard()
        self.secret = new_secret(b"s" * 32)
        self.revoked = False
        self.pace_ms = 100  # how often measurements are asked for
        self.silent = False  # signs nothing and says nothing, as a machine that hangs
        self.port = 0
        self._server_key = ec.generate_private_key(ec.SECP256R1())
        self.server_root = new_server_root("dc1", self._server_key, 1, datetime.now(UTC))
        self._outboxes: list[asyncio.Queue[mesh_pb2.Delta | None]] = []
        self._serial = 100
        self._server: grpc.aio.Server | None = None

    def set(self, *resources: mesh_pb2.Resource) -> None:
        self.resources |= make.by_name(*resources)

    def push(self, *resources: mesh_pb2.Resource, removed: Sequence[str] = ()) -> None:
        """Sends what changed."""
        self.set(*resources)
        for name in removed:
            del self.resources[name]
        self.index += 1
        for outbox in self._outboxes:
            outbox.put_nowait(mesh_pb2.Delta(index=self.index, upserts=resources, removed=removed))

    async def start(self) -> None:
        """On the port it had before, or a free one."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = issue_server(
            self.server_root, self._server_key, key.public_key(), ["127.0.0.1"], 2, datetime.now(UTC)
        )
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        mesh_pb2_grpc.add_MeshServicer_to_server(self, server)
        credentials = grpc.ssl_server_credentials([(private_pem(key), chain_to_pem([leaf.leaf_der]))])
        self.port = server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace=None)

    async def revoke(self) -> None:
        """Withdraws the credential and ends its streams."""
        self.revoked = True
        for outbox in self._outboxes:
            outbox.put_nowait(None)

    @property
    def credential(self) -> Credential:
        pem = der_to_pem(self.server_root.public_bytes(DER))
        return Credential(make.WEB_KEY, self.secret, pem, (f"127.0.0.1:{self.port}",), make.TRUST_DOMAIN)

    def credential_file(self, directory: Path) -> Path:
        path = directory / "web.json"
        self.credential.write(path)
        return path

    # --- the service ---

    async def SignCertificate(self, request: mesh_pb2.SignCertificateRequest, context: Any) -> Any:
        await self._authenticate(context)
        self.heard.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        self.heard.csrs.append(request.csr_der)
        self._serial += 1
        issued = issue_leaf(
            self.domain.root, self.domain.key, request.csr_der, self.identity, self._serial,
            datetime.now(UTC), self.leaf_ttl,
        )  # fmt: skip
        return mesh_pb2.SignCertificateResponse(chain_der=[issued.leaf_der], spiffe_id=self.identity.uri)

    async def Subscribe(self, request_iterator: Any, context: Any) -> AsyncIterator[mesh_pb2.Delta]:
        await self._authenticate(context)
        hello = (await anext(request_iterator)).hello
        self.heard.hellos.append(hello)
        outbox: asyncio.Queue[mesh_pb2.Delta | None] = asyncio.Queue()
        self._outboxes.append(outbox)
        try:
            outbox.put_nowait(self._first(hello))
            while (delta := await outbox.get()) is not None:
                delta.nonce = len(self.heard.acks) + 1
                yield delta
                self.heard.acks.append((await anext(request_iterator)).ack)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "credential withdrawn")
        finally:
            self._outboxes.remove(outbox)

    async def Observe(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[observe_pb2.ObservationRequest]:
        await self._authenticate(context)
        self.heard.observed += 1
        yield observe_pb2.ObservationRequest(pace=observe_pb2.Pace(period_ms=self.pace_ms))
        async for observation in request_iterator:
            self.heard.observations.append(observation)

    def _first(self, hello: mesh_pb2.Hello) -> mesh_pb2.Delta:
        changed = [
            resource
            for resource in self.resources.values()
            if hello.versions.get(resource.name) != resource.version
        ]
        gone = [name for name in hello.versions if name not in self.resources]
        return mesh_pb2.Delta(index=self.index, upserts=changed, removed=gone)

    async def _authenticate(self, context: Any) -> None:
        said = dict(context.invocation_metadata()).get(METADATA_KEY)
        if self.revoked or said != f"{make.WEB_KEY} {self.secret}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown credential")
