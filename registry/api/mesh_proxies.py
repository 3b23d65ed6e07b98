"""`/v1/mesh/proxies`: the sidecars that are connected, and whether each has taken what it was sent."""

from ..acl.access import Access
from ..operator.proxies import Found
from .handling import Call, on_server
from .respond import Reply
from .views import Json, rfc3339


async def list_all(call: Call) -> Reply:
    """Those of services that the token may read, by instance; `Silent` names servers that did not answer."""
    if not call.caller.may.allows_any("service", Access.READ):
        raise call.caller.denied("service:read")
    service, state = call.query.text("service"), call.query.text("state")
    found, silent = await on_server(call.parts.proxies).everywhere()
    wanted = [it for it in found if service in ("", it.proxy.service) and state in ("", it.proxy.state)]
    shown = call.sieve.keep(wanted, lambda may, it: may.allows("service", it.proxy.service, Access.READ))
    return call.json({"Proxies": [_shown(it) for it in shown], "Silent": list(silent)})


def _shown(found: Found) -> Json:
    proxy = found.proxy
    return {
        "Instance": proxy.instance_key,
        "Service": proxy.service,
        "Server": found.server,
        "Version": proxy.sidecar_version,
        "State": proxy.state,
        "Index": proxy.index,
        "SentIndex": proxy.sent_index,
        "Refused": proxy.refused,
        "Since": rfc3339(proxy.since_ms),
    }
