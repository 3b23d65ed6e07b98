"""What a service manager is told, by the protocol of sd_notify(3); nothing where none listens."""

import asyncio
import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Sends `READY=1` and the like. Failures say nothing: a manager that has gone cannot be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there, contextlib.suppress(OSError):
        there.connect("\0" + address[1:] if address[0] == "@" else address)
        there.sendall("\n".join(lines).encode())


def watchdog_s() -> float:
    """How often `WATCHDOG=1` is wanted, in seconds: half of what WatchdogSec= says. 0: not at all.

    WATCHDOG_PID is not looked at: a successor that took over serves under the same unit.
    """
    try:
        return max(0.0, int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000)
    except ValueError:
        return 0.0


async def feed_watchdog() -> None:
    """For ever, where one is set: the manager restarts a process whose event loop hangs."""
    if interval_s := watchdog_s():
        while True:
            notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)
