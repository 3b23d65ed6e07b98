"""Who a caller is by now: what is parked, or still being answered, looks again (trap 26)."""

from collections.abc import Callable

from ..acl.caller import Caller, PermissionDenied
from ..errors import NoServers, NotReady
from ..identity.admission import caller_of
from ..identity.errors import TokenUnknown
from ..identity.management import token_of
from .handling import Call, Parts


async def caller_by(parts: Parts, secret: str) -> Caller:
    """Who has this token. An agent asks a server first, since it only knows what it was told last. Raises
    TokenUnknown; NoServers, PermissionDenied where nobody could be asked."""
    if parts.remote:
        await parts.remote.ask(secret)
    return caller_of(parts.callers, parts.log.view(), secret)


async def caller_now(call: Call) -> Caller:
    """Who has the token of a call, else the agent's own one. Raises as `caller_by`."""
    secret = token_of(call.query.text("token"), call.headers) or call.parts.tokens.of("default")
    return await caller_by(call.parts, secret)


async def may_still(call: Call, allowed: Callable[[Caller], bool]) -> bool:
    """Whether the stream that a call began may go on; not where nobody can say who its caller is."""
    try:
        return allowed(await caller_now(call))
    except (TokenUnknown, NoServers, NotReady, PermissionDenied):
        return False
