"""Processes for tests: the demo's own, plus free ports and readiness with a deadline."""

import socket
import time

from examples.demo.processes import Child, Processes

__all__ = ["Child", "Processes", "free_port", "wait_for_port"]

START_DEADLINE_S = 20.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(child: Child, port: int) -> None:
    """Returns when something accepts on the port; fails with the child's output when it never does."""
    end = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < end:
        assert child.exit_code is None, f"{child.name} ended with {child.exit_code}:\n{child.said()}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"{child.name} does not listen on {port}:\n{child.said()}")
