"""`PUT /v1/agent/token/:type`: the tokens that this agent itself uses."""

from ..agent.fields import Fields, decode_object, read_whole
from .errors import AclDisabled, NotFound
from .handling import Call
from .respond import Reply


async def put(call: Call) -> Reply:
    """Empty. Raises AclDisabled, NotFound."""
    if call.parts.callers is None:
        raise AclDisabled
    secret = read_whole(decode_object(call.body), "", _read)
    if not await call.parts.tokens.set(call.name, secret):
        raise NotFound(f'Token "{call.name[:100]}" is unknown')
    return Reply()


def _read(fields: Fields) -> str:
    return fields.text("Token")
