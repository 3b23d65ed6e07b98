"""What a stranger on the network sees of a sidecar's public port."""

import socket
import ssl
import tempfile
from pathlib import Path

from cryptography import x509

from .ports import HOST

TIMEOUT_S = 5.0
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
TLS_ALERT = 0x15
H2_FRAME_HEADER_BYTES = 9
H2_SETTINGS = 4


def answer_to_plaintext(port: int) -> bytes:
    """What the port answers to HTTP/2 without TLS before it closes the connection."""
    with socket.create_connection((HOST, port), TIMEOUT_S) as connection:
        connection.sendall(H2_PREFACE)
        return _read_all(connection)


def answer_to_stranger(port: int, roots_pem: str) -> tuple[str, bytes, str]:
    """TLS without a client certificate: (SPIFFE id the port proved, bytes it then sent, why it closed).

    The handshake itself raises ssl.SSLError when the port's certificate is not of these roots.
    """
    with (
        socket.create_connection((HOST, port), TIMEOUT_S) as plain,
        _client_context(roots_pem).wrap_socket(plain) as connection,
    ):
        identity = _spiffe_id(connection)
        try:
            connection.sendall(H2_PREFACE)
            return identity, _read_all(connection), "connection closed"
        except ssl.SSLError as error:
            return identity, b"", error.reason or "TLS error"
        except OSError as error:
            return identity, b"", str(error)


def greets(port: int, roots_pem: str, chain_pem: str, key_pem: str) -> bool:
    """Whether the port answers HTTP/2 SETTINGS to a client with this certificate."""
    context = _client_context(roots_pem)
    with tempfile.TemporaryDirectory(prefix="weft-demo-leaf-") as folder:
        both = Path(folder) / "leaf.pem"  # the folder is ours alone (0700)
        both.write_text(chain_pem + key_pem)
        context.load_cert_chain(both)
    with (
        socket.create_connection((HOST, port), TIMEOUT_S) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(H2_PREFACE)
        try:
            header = connection.recv(H2_FRAME_HEADER_BYTES)
        except OSError:
            return False
        return len(header) == H2_FRAME_HEADER_BYTES and header[3] == H2_SETTINGS


def is_answer(data: bytes) -> bool:
    """Whether the bytes are more than a TLS alert, which says only that the peer will not talk."""
    return bool(data) and data[0] != TLS_ALERT


def _client_context(roots_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # SPIFFE: the identity is the URI, not a host name
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=roots_pem)
    return context


def _spiffe_id(connection: ssl.SSLSocket) -> str:
    der = connection.getpeercert(binary_form=True) or b""
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)[0]


def _read_all(connection: socket.socket) -> bytes:
    """Until the peer closes. A reset counts as closed; silence until the time-out does not."""
    data = b""
    while True:
        try:
            more = connection.recv(4096)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more
