"""UDP checks: a datagram is sent, and the port is critical when the machine says that nobody is there."""

import asyncio
import socket

from ..catalog.model import PASSING, CheckDefinition
from .sockets import resolve
from .status import Outcome

SILENCE_S = 2.0
"""How long an answer or a refusal is waited for. A refusal (ICMP port unreachable) comes within a round
trip; waiting for the whole time-out would hold a slot of the prober for each service that keeps silent."""
DATAGRAM = b""  # as Consul sends: empty, so that no protocol can take it for a request


async def probe_udp(definition: CheckDefinition) -> Outcome:
    """Silence passes, as in Consul: most UDP services answer only what they understand. Raises OSError."""
    target = await resolve(definition.udp, socket.SOCK_DGRAM)
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
        probe.connect((target.address, target.port))
        probe.send(DATAGRAM)
        try:
            async with asyncio.timeout(_patience_s(definition)):
                await asyncio.get_running_loop().sock_recv(probe, 1)
        except TimeoutError:
            pass
    return Outcome(PASSING, f"UDP connect {definition.udp}: Success")


def _patience_s(definition: CheckDefinition) -> float:
    """Half of a short time-out: silence is to be told from a target that cannot be resolved."""
    return min(SILENCE_S, definition.timeout_ms / 2000 or SILENCE_S)
