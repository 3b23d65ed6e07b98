"""Answers slowed down on purpose: their DATA waits on the caller's stream and goes in steps.

Between the steps the stream's window is closed, as a socket that takes nothing closes that of a connection
(`Connection.pause_writing`). What waits is not credited to the application: it is a stream's window at most.
"""

from ..h2.connection import PAUSED
from ..h2.flow import pump
from ..h2.stream import CLOSED
from ..policy.faults import Pacer
from .exchange import Exchange

STEP_S = 0.02


class Pace:
    """Of one answer."""

    __slots__ = ("_pacer",)

    def __init__(self, exchange: Exchange, bytes_per_second: int, now: float) -> None:
        self._pacer = Pacer(bytes_per_second, now)
        exchange.window -= PAUSED

    def step(self, exchange: Exchange, now: float) -> float:
        """Sends what may go; the moment of the next step."""
        real = exchange.window + PAUSED
        open_to = self._pacer.take(max(0, min(real, exchange.parked_bytes)), now)
        exchange.window = open_to
        pump(exchange)
        if exchange.state != CLOSED:
            exchange.window += real - open_to - PAUSED
        return now + STEP_S
