"""What servers prove to each other: a certificate under the servers' own root, for their datacenter.

The root of the mesh signs services; nothing that it signed opens this port (trap 3). Every server's
certificate bears the DNS name `server.<datacenter>.weft` besides its own, and both sides check it: the
caller as the name of whom it calls, the called one from the certificate that TLS has verified.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from cryptography import x509

from . import limits
from .errors import PeerRefused

_SHARED_OPTIONS = (
    ("grpc.max_receive_message_length", limits.PEER_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.PEER_MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 5_000),
    # With keepalive on, gRPC also sets TCP_USER_TIMEOUT to this.
    ("grpc.keepalive_timeout_ms", int(limits.PEER_SILENCE_S * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
SERVER_OPTIONS = (
    *_SHARED_OPTIONS,
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)


@dataclass(frozen=True, slots=True)
class PeerTls:
    """PEM of the servers' roots, this server's chain, and its key."""

    roots_pem: bytes
    chain_pem: bytes
    key_pem: bytes = field(repr=False)


Material = Callable[[], PeerTls]
"""Asked for each connection, so that renewed certificates are used without a restart."""


def server_name(datacenter: str) -> str:
    """The DNS name that says: a server of this datacenter."""
    return f"server.{datacenter}.weft"


def listener_credentials(material: Material) -> grpc.ServerCredentials:
    """For accepting peers: without a certificate under the root there is no connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        tls = material()
        return grpc.ssl_server_certificate_configuration([(tls.key_pem, tls.chain_pem)], tls.roots_pem)

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=True
    )


def channel(address: str, tls: PeerTls, datacenter: str) -> grpc.aio.Channel:
    """To a server of the datacenter at `host:port`, and to nobody else."""
    credentials = grpc.ssl_channel_credentials(tls.roots_pem, tls.key_pem, tls.chain_pem)
    options = (
        *_SHARED_OPTIONS,
        ("grpc.ssl_target_name_override", server_name(datacenter)),
        ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, with the newest material
        ("grpc.enable_retries", 0),
        ("grpc.min_reconnect_backoff_ms", int(limits.PEER_SILENCE_S * 1000)),  # also bounds the connecting
    )
    return grpc.aio.secure_channel(address, credentials, options=options)


def check_caller(auth: Any, datacenter: str, now_unix_s: float) -> float:
    """How long the caller's certificate is still valid, in seconds.

    Raises PeerRefused unless it is a server's of this datacenter, and valid now. `auth` is gRPC's
    auth_context(): TLS has checked the chain, but a resumed session would skip the dates.
    """
    pems = auth.get("x509_pem_cert", ())
    if not pems:
        raise PeerRefused("the caller showed no certificate")
    leaf = x509.load_pem_x509_certificate(pems[0])
    now = datetime.fromtimestamp(now_unix_s, UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise PeerRefused("the caller's certificate is not valid now; renew it, and check both clocks")
    names = _dns_names(leaf)
    if server_name(datacenter) not in names:
        raise PeerRefused(
            f"the caller's certificate is of {', '.join(names)[:200] or 'nobody'}, not of a server of "
            f"{datacenter}; make it with: weft tls cert create --datacenter {datacenter}"
        )
    return (leaf.not_valid_after_utc - now).total_seconds()


def _dns_names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)
