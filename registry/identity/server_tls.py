"""The registry's own certificate, under the server root that sidecars pin (trap 3)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import LEAF_TTL_DEFAULT, Issued
from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import KeyProvider, private_pem
from ca.server_identity import issue_server, new_server_root
from weft.clock import Clock
from weft.errors import ConfigError
from weft.files import read_private, write_private

from ..agent.writer import Entropy
from .errors import KeyMismatch
from .serial import new_serial

Pair = tuple[bytes, bytes]
"""A private key and its chain, PEM, with the root: a joining agent looks there for what it has a pin of."""


class Face(Protocol):
    """What a registry shows to sidecars."""

    @property
    def root_pem(self) -> str:
        """The root that they pin."""
        ...

    def credentials(self) -> grpc.ServerCredentials:
        """TLS for a gRPC server. Callers prove themselves by credential, not by certificate."""
        ...

    def pair(self) -> Pair:
        """What the registry proves itself by now."""
        ...


class ServerIdentity:
    """Issues the gRPC listener's certificate anew at half its life, without a restart."""

    def __init__(
        self,
        root: x509.Certificate,
        provider: KeyProvider,
        hosts: Sequence[str],
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._root = root
        self._provider = provider
        self._hosts = tuple(hosts)
        self._clock = clock
        self._entropy = entropy
        self._renew_at = datetime.min.replace(tzinfo=UTC)
        self._current: Pair = (b"", b"")

    @property
    def root_pem(self) -> str:
        return der_to_pem(self._root.public_bytes(Encoding.DER))

    def credentials(self) -> grpc.ServerCredentials:
        """TLS for a gRPC server. Callers prove themselves by credential, not by certificate."""
        return listener_credentials(self.pair)

    def pair(self) -> Pair:
        """The certificate in force with its key."""
        if self._now() >= self._renew_at:
            self._current = self._issue()
        return self._current

    def _issue(self) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._now()
        issued: Issued = issue_server(
            self._root, self._provider.key(), key.public_key(), self._hosts, new_serial(self._entropy), now
        )
        self._renew_at = now + LEAF_TTL_DEFAULT / 2
        return private_pem(key), chain_to_pem([issued.leaf_der]) + self.root_pem.encode()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def listener_credentials(
    pair: Callable[[], Pair], callers_pem: Callable[[], bytes] | None = None
) -> grpc.ServerCredentials:
    """TLS for a gRPC server; both are asked at each handshake. With `callers_pem` a caller must show a
    certificate under one of these roots."""
    sent: tuple[Pair, bytes | None] = (pair(), callers_pem() if callers_pem else None)

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([sent[0]], sent[1])

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal sent
        now = (pair(), callers_pem() if callers_pem else None)
        if now == sent:
            return None  # keep it
        sent = now
        return configuration()

    fetched: Any = fetch  # the stubs forget that None is an answer
    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetched, require_client_authentication=callers_pem is not None
    )


def server_root(
    path: Path | None, provider: KeyProvider, datacenter: str, clock: Clock, entropy: Entropy
) -> x509.Certificate:
    """The root kept at `path`, made at the first start; without a path it ends with the process.

    Raises KeyMismatch when the file is damaged or not of the provider's key, KeyUnusable,
    EnvironmentProblem.
    """
    if path is not None and path.exists():
        return _load(path, provider)
    now = datetime.fromtimestamp(clock.wall(), UTC)
    root = new_server_root(datacenter, provider.key(), new_serial(entropy), now)
    if path is not None:
        write_private(path, der_to_pem(root.public_bytes(Encoding.DER)).encode())
    return root


def _load(path: Path, provider: KeyProvider) -> x509.Certificate:
    try:
        root = x509.load_pem_x509_certificate(read_private(path, "server root"))
    except ConfigError as error:
        raise KeyMismatch(str(error)) from error
    except ValueError as error:
        raise KeyMismatch(f"{path}: not a certificate: restore it from backup") from error
    if root.public_key() != provider.key().public_key():
        raise KeyMismatch(f"{path}: not the certificate of its key: restore both from one backup")
    return root
