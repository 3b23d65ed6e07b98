"""`PUT /v1/agent/token/:type`: the tokens that this agent itself uses."""

from ..acl.access import Access
from ..agent.fields import Fields, decode_object, read_whole
from ..errors import NoServers
from ..identity.agent_tokens import KINDS
from ..identity.errors import TokenUnknown
from .caller_now import caller_by
from .errors import AclDisabled, NotFound
from .handling import Call
from .respond import Reply


async def put(call: Call) -> Reply:
    """Empty. Raises AclDisabled, NotFound, PermissionDenied."""
    if call.parts.callers is None:
        raise AclDisabled
    secret = read_whole(decode_object(call.body), "", _read)
    if KINDS.get(call.name) == "default" and secret:
        await _check_default(call, secret)
    if not await call.parts.tokens.set(call.name, secret):
        raise NotFound(f'Token "{call.name[:100]}" is unknown')
    return Reply()


async def _check_default(call: Call, secret: str) -> None:
    """The default token speaks for all who come without one, over the network too. One that may write the
    access control list is set only by who may do so himself, and not by mistake. Raises PermissionDenied."""
    try:
        meant = await caller_by(call.parts, secret)
    except (TokenUnknown, NoServers):
        return  # allows nothing now; Consul takes it too
    if meant.may.allows("acl", "", Access.WRITE):
        call.caller.require("acl", "", Access.WRITE)


def _read(fields: Fields) -> str:
    return fields.text("Token")
