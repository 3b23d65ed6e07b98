"""A test in the place of a sidecar: it asks the registry for certificates with a credential it holds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.bundle import chain_to_pem
from ca.provider import private_pem
from tests.support.listener import listening
from tests.support.mesh import Member, Mesh
from tests.support.pki import csr
from weft.pb.mesh.v1 import mesh_pb2, mesh_pb2_grpc

RPC_TIMEOUT_S = 10.0
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Identity:
    chain_pem: bytes
    key_pem: bytes
    leaf: x509.Certificate

    @property
    def uris(self) -> list[str]:
        names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.UniformResourceIdentifier)


async def sign(mesh: Mesh, metadata: Metadata, csr_der: bytes) -> mesh_pb2.SignCertificateResponse:
    """SignCertificate with this call metadata. Raises the AioRpcError."""
    async with mesh.registry_channel() as channel:
        stub: Any = mesh_pb2_grpc.MeshStub(channel)
        request = mesh_pb2.SignCertificateRequest(csr_der=csr_der)
        answer: mesh_pb2.SignCertificateResponse = await stub.SignCertificate(
            request, metadata=metadata, timeout=RPC_TIMEOUT_S
        )
        return answer


async def identity_of(mesh: Mesh, member: Member, claims: Sequence[str] = ()) -> Identity:
    """A leaf by the member's credential, for a key of ours; the CSR claims other URIs if given."""
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await sign(mesh, (member.credential.metadata(),), csr(key, uris=tuple(claims)))
    chain = list(answer.chain_der)
    return Identity(chain_to_pem(chain), private_pem(key), x509.load_der_x509_certificate(chain[0]))


class Tripwire:
    """An application that only counts who reaches it."""

    def __init__(self) -> None:
        self.connections = 0
        self.received = b""
        self.port = 0

    async def _reached(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(4096):
            self.received += data


@contextlib.asynccontextmanager
async def tripwire(port: int = 0) -> AsyncIterator[Tripwire]:
    wire = Tripwire()
    async with listening(wire._reached, port) as wire.port:
        yield wire
