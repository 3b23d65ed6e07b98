"""What is looked at once a second, or when trust changes: connections that must end."""

from collections.abc import Iterable

from weft.svid import UntrustedPeer

from ..h2 import control
from ..h2.connection import Connection
from ..identity import TlsContexts
from ..snapshot import Snapshot
from .downstream import Downstream
from .peer import Peer
from .upstream import Upstream

DRAIN_FINALLY_S = 2  # a peer that answers no PING gets the second GOAWAY all the same
GREETING_S = 10  # from the accepted connection to its SETTINGS
CLOSING_S = 5  # for the last bytes to leave before the socket is cut


def second_passed(conn: Downstream | Upstream, wall: float) -> None:
    """Limits and ends of one connection. `wall` is Unix seconds."""
    conn.age_s += 1
    if conn.closing:
        conn.closing_s += 1
        if conn.closing_s > CLOSING_S:
            conn.abort()
        return
    if not conn.settled and conn.age_s > GREETING_S:
        conn.abort()
        return
    if (peer := conn.proven) is not None:
        if wall >= peer.ends_at:
            conn.abort()
            return
        if wall >= peer.roll_at:
            leave(conn)
    if isinstance(conn, Downstream):
        _drain_on(conn)
    if not control.second_passed(conn, probing=conn.proven is not None):
        conn.abort()
    elif not conn.closing:
        conn.on_second()


def _drain_on(conn: Downstream) -> None:
    if conn.draining == 1:
        conn.drain_s += 1
        if conn.drain_s >= DRAIN_FINALLY_S:
            conn.drain_finally()


def leave(conn: Downstream | Upstream) -> None:
    """Ends the connection without failing a request."""
    if isinstance(conn, Downstream):
        conn.drain()
    else:
        conn.retire()


def drop_revoked(connections: Iterable[tuple[Connection, Peer]], snapshot: Snapshot) -> None:
    """Ends connections whose peer's leaf was revoked, or whose trust domain has no bundle any more."""
    for conn, peer in connections:
        if peer.serial_key in snapshot.revoked or not snapshot.bundles.get(peer.identity.trust_domain):
            conn.abort()


def drop_untrusted(connections: Iterable[tuple[Connection, Peer]], tls: TlsContexts) -> None:
    """Ends connections whose peer would be refused today."""
    for conn, peer in connections:
        try:
            tls.peer(peer.chain)
        except UntrustedPeer:
            conn.abort()
