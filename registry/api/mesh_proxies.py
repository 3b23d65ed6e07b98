"""`/v1/mesh/proxies`: the sidecars that are connected, and whether each has taken what it was sent."""

from ..acl.access import Access
from ..catalog.model import CONNECT_PROXY, instance_key
from ..catalog.state import State
from ..operator.proxies import Found, ProxyStatus
from .handling import Call, on_server
from .respond import Reply
from .views import Json, rfc3339

ABSENT = "absent"


async def list_all(call: Call) -> Reply:
    """Those of services that the token may read, by instance; `Silent` names servers that did not answer."""
    if not call.caller.may.allows_any("service", Access.READ):
        raise call.caller.denied("service:read")
    service, state = call.query.text("service"), call.query.text("state")
    found, silent = await on_server(call.parts.proxies).everywhere()
    rows = [_shown(it) for it in found]
    if not silent:  # else the missing ones may be there
        rows += _absent(call.parts.log.view(), {it.proxy.instance_key for it in found})
    wanted = [row for row in rows if service in ("", row["Service"]) and state in ("", row["State"])]
    shown = call.sieve.keep(wanted, lambda may, row: may.allows("service", row["Service"], Access.READ))
    shown.sort(key=lambda row: (row["Instance"], row["Server"]))
    return call.json({"Proxies": shown, "Silent": list(silent)})


def _absent(state: State, known: set[str]) -> list[Json]:
    """Sidecars that are registered, and that no server hears."""
    found = []
    for row in state.services.values():
        if row.kind != CONNECT_PROXY or row.proxy is None:
            continue
        key = instance_key(row.datacenter, row.node, row.proxy.destination_service_id or row.id)
        if known.isdisjoint((key, row.instance_key)):
            status = ProxyStatus(key, row.proxy.destination_service, "", 0)
            found.append(_shown(Found("", status)) | {"State": ABSENT, "Since": ""})
    return found


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
