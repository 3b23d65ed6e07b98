"""Processes for tests: the demo's own, plus free ports and readiness with a deadline."""

import contextlib
import itertools
import os
import random
import socket
import time
from collections.abc import Iterator

from examples.demo.processes import Child, Processes

__all__ = ["Child", "Processes", "free_port", "wait_for_port"]

START_DEADLINE_S = 20.0
FIRST_PORT, PORTS, WORKERS = 12_000, 5_000, 4  # up to 32,000


def _all_ports() -> Iterator[int]:
    """Below those that the kernel hands out by itself: no outgoing connection takes one before it is used.

    Workers of one run have ports of their own, and runs side by side begin at different ones.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = FIRST_PORT + int(worker) % WORKERS * PORTS
    begin = random.randrange(PORTS)
    return itertools.cycle([first + (begin + number) % PORTS for number in range(PORTS)])


_ports = _all_ports()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now. Raises AssertionError where there is none."""
    for port in itertools.islice(_ports, PORTS):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"all {PORTS} ports are taken")


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
