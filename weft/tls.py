"""TLS contexts between processes of the mesh: 1.3 only, both sides proven, sessions never resumed.

A context cannot forget a root, so each change of leaf or bundle makes a new one.
"""

import os
import ssl
from collections.abc import Sequence
from typing import Any

from .errors import ConfigError

ALPN = ("h2",)


def server_context(
    chain_pem: bytes, key_pem: bytes, roots_pem: Sequence[bytes], alpn: Sequence[str] = ALPN
) -> ssl.SSLContext:
    """For accepting peers, which must show a certificate under one of `roots_pem`.

    Loading several trust domains is not enough to tell them apart: check the chain with
    `weft.svid.Verifier` after the handshake. Raises ConfigError on unusable material.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, chain_pem, key_pem, roots_pem, alpn)
    # A resumed session skips the certificate: it was accepted after the client's leaf had expired.
    context.num_tickets = 0
    return context


def client_context(
    chain_pem: bytes, key_pem: bytes, roots_pem: Sequence[bytes], alpn: Sequence[str] = ALPN
) -> ssl.SSLContext:
    """For connecting to peers. An SVID names no host; `weft.svid.Verifier` says who answered.

    Raises ConfigError on unusable material.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, chain_pem, key_pem, roots_pem, alpn)


def https_server_context(chain_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """For HTTP clients, which prove themselves by token. Raises ConfigError on unusable material."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load_key(context, chain_pem, key_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"TLS material is unusable ({error}); check certificate and key") from error
    return context


def peer_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The certificates the peer presented, DER, leaf first; empty when it presented none.

    `tls` is what an asyncio transport calls `ssl_object`.
    """
    if hasattr(tls, "get_unverified_chain"):  # public from Python 3.13
        return list(tls.get_unverified_chain())
    inner: Any = tls._sslobj  # type: ignore[union-attr]  # 3.11 and 3.12 have it under this name
    return [certificate.public_bytes(_DER) for certificate in inner.get_unverified_chain() or ()]


_DER = 2  # _ssl.ENCODING_DER


def _context(
    protocol: int, chain_pem: bytes, key_pem: bytes, roots_pem: Sequence[bytes], alpn: Sequence[str]
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(list(alpn))
    try:
        _load_key(context, chain_pem, key_pem)
        context.load_verify_locations(cadata=b"\n".join(roots_pem).decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"TLS material is unusable ({error}); check certificate, key and roots") from error
    return context


def _load_key(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """`ssl` loads keys from paths only; an anonymous memory file has one and never reaches a disk."""
    handle = os.memfd_create("weft-key")
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(chain_pem + b"\n" + key_pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
