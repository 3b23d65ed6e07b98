"""Ports of 127.0.0.1: the usual ones where they are free, others where they are not."""

import socket

from .narrator import Narrator

HOST = "127.0.0.1"


class Ports:
    """Gives each port once. What it gives was free a moment ago."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._given: set[int] = set()

    def take(self, preferred: int, purpose: str) -> int:
        """`preferred`, or a free port, which is then announced."""
        port = preferred if self._is_free(preferred) else self._any()
        if port != preferred:
            self._narrator.say(f"port {preferred} ({purpose}) is taken, using {port}")
        self._given.add(port)
        return port

    def _is_free(self, port: int) -> bool:
        if port in self._given:
            return False
        with socket.socket() as probe:
            # As servers do: a port in TIME_WAIT is free, one that is listened on is not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
        return True

    def _any(self) -> int:
        while True:
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                port: int = probe.getsockname()[1]
            if port not in self._given:
                return port
