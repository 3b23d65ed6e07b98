"""`POST /v1/agent/connect/authorize`: may the holder of this certificate call this service?"""

from weft.spiffe import InvalidSpiffeId, SpiffeId

from ..acl.access import Access
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog.state import State
from ..intentions import match as matching
from .blocking import gate
from .errors import BadRequest
from .handling import Call
from .query import Consistency
from .respond import Reply


async def authorize(call: Call) -> Reply:
    """By L4 alone: an intention with permissions decides per request, so here it is a deny, as in Consul."""
    target, uri = read_whole(decode_object(call.body), "", _read)
    if not target:
        raise BadRequest("Target service must be specified")
    call.caller.require("service", target, Access.WRITE)
    if not uri:
        raise BadRequest("ClientCertURI must be specified")
    try:
        caller = SpiffeId.parse(uri)
    except InvalidSpiffeId:
        raise BadRequest("ClientCertURI not a valid Connect identifier") from None
    await gate(call.parts.log, Consistency.DEFAULT)
    allowed, reason = decide(call.parts.log.view(), caller, target, default_allow=call.parts.default_allow)
    return call.json({"Authorized": allowed, "Reason": reason})


def _read(fields: Fields) -> tuple[str, str]:
    fields.text("ClientCertSerial")  # identities are revoked by instance, not by serial number
    for tenancy in ("Namespace", "Partition"):
        fields.text(tenancy)
    return fields.text("Target"), fields.text("ClientCertURI")


def decide(state: State, caller: SpiffeId, target: str, *, default_allow: bool) -> tuple[bool, str]:
    """Whether, and why in words."""
    if state.cluster is None or caller.trust_domain != state.cluster.trust_domain:
        return False, f"Identity from an external trust domain: {caller.trust_domain}"
    found = matching.check(state, caller.service, target, default_allow=default_allow).rows
    row = found.intention
    if row is None:
        return default_allow, "No intention matches; the default intention policy decides"
    told = f"{row.source} => {row.destination}"
    if row.permissions_json:
        return False, f"Matched L7 intention: {told} decides by request, not by connection"
    return row.allow, f"Matched L4 intention: {'ALLOW' if row.allow else 'DENY'} {told}"
