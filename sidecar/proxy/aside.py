"""Connections onward for what a caller asks for beyond its part of those that all share."""

from typing import TYPE_CHECKING

from ..h2.flow import CREDIT_BYTES
from .exchange import Exchange
from .upstream import Upstream

if TYPE_CHECKING:
    from .endpoint import Endpoint

# Of an answer, before its caller has taken any of it. A sidecar asks its application for more than other
# sidecars ask of it: what their windows let through shows nothing yet.
FIRST_WINDOW_BYTES, APP_FIRST_WINDOW_BYTES = 8 * 1024, 16 * 1024
UNREAD_BYTES = 4 * 1024  # what may be left of that when the rest of a window is granted


class Aside(Upstream):
    """An answer begins with a small window, and gets a whole one once it is read: a thousand answers that
    nobody reads cost an eighth of a thousand windows, here and at every hop behind."""

    __slots__ = ()

    @property
    def first_window(self) -> int:  # type: ignore[override]  # it depends on who is there
        return APP_FIRST_WINDOW_BYTES if self.proven is None else FIRST_WINDOW_BYTES

    def open(self, exchange: Exchange, endpoint: "Endpoint") -> None:
        super().open(exchange, endpoint)
        half, window = exchange.peer, self.first_window
        half.recv_window = window
        half.owed = CREDIT_BYTES - (window - UNREAD_BYTES)
