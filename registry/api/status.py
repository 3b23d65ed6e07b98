"""`/v1/status/*` and the page at `/`."""

from .handling import Call
from .respond import Reply


async def leader(call: Call) -> Reply:
    """The leader's address; "" while there is none."""
    found = call.parts.log.status().leader
    return call.json(found and (call.parts.server_address or found))


async def peers(call: Call) -> Reply:
    parts = call.parts
    return call.json([parts.server_address] if parts.server_address else list(parts.log.status().peers))


async def index(_call: Call) -> Reply:
    return Reply(
        body=b"Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration "
        b"and restart."
    )
