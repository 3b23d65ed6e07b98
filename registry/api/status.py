"""`/v1/status/*` and the page at `/`."""

from .handling import Call
from .respond import Reply


async def leader(call: Call) -> Reply:
    """The leader's address; "" while there is none."""
    return call.json(call.parts.server_address if call.parts.log.status().leader else "")


async def peers(call: Call) -> Reply:
    return call.json([call.parts.server_address])


async def index(_call: Call) -> Reply:
    return Reply(
        body=b"Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration "
        b"and restart."
    )
