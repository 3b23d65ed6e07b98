"""TLS handshakes over real sockets, both ends in this process."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from weft.tls import peer_chain

DEADLINE_S = 10.0


@dataclass
class End:
    """What one side saw once a byte had gone each way."""

    version: str | None
    alpn: str | None
    chain_der: list[bytes]
    resumed: bool | None
    session: ssl.SSLSession | None


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[End, End]:
    """(server's end, client's end). Raises ssl.SSLError when either side refuses."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.settimeout(DEADLINE_S)
    with ThreadPoolExecutor(2) as sides, near, far:
        serving = sides.submit(_serve, server, near)
        connecting = sides.submit(_connect, client, far, session)
        wait([connecting], DEADLINE_S)
        far.close()  # so that the server's side ends too
        faults = [serving.exception(DEADLINE_S), connecting.exception()]
    # The side that refused knows why; the other sees an alert or a closed socket.
    faults.sort(key=lambda fault: not isinstance(fault, ssl.SSLCertVerificationError))
    for fault in faults:
        if fault:
            raise fault
    return serving.result(), connecting.result()


def failure(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Why the handshake was refused, as the refusing side or its peer puts it; "" when it was not."""
    try:
        shake(server, client)
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    return ""


def _serve(context: ssl.SSLContext, end: socket.socket) -> End:
    with context.wrap_socket(end, server_side=True) as tls:
        tls.recv(1)
        tls.sendall(b"!")
        return _end(tls)


def _connect(context: ssl.SSLContext, end: socket.socket, session: ssl.SSLSession | None) -> End:
    with context.wrap_socket(end, session=session) as tls:
        tls.sendall(b"?")
        tls.recv(1)  # a TLS 1.3 client learns here that it was refused, and gets its tickets
        return _end(tls)


def _end(tls: ssl.SSLSocket) -> End:
    return End(tls.version(), tls.selected_alpn_protocol(), peer_chain(tls), tls.session_reused, tls.session)
