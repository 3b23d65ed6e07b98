"""`/v1/mesh/graph`: who calls whom, how often, how well, as the sidecars have measured it lately."""

from weft.durations import InvalidDuration, parse_duration_s

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog.model import PASSING
from ..catalog.state import State
from ..measurements.graph import Link, links, service_and_subset
from ..measurements.tally import Tally
from ..measurements.window import SPAN_S
from .errors import BadRequest
from .handling import Call, on_server
from .respond import Reply
from .views import Json

WINDOW_S = 30.0  # where the query says nothing


async def graph(call: Call) -> Reply:
    """Services of the mesh and the calls between them; what the token may not read is left out."""
    if not call.caller.may.allows_any("service", Access.READ):
        raise call.caller.denied("service:read")
    wanted_s, only = _window_s(call.query.text("window")), call.query.text("service")
    edges, span_s = on_server(call.parts.measuring).recent(wanted_s)
    found = [link for link in links(edges) if only in ("", link.source, link.destination)]
    shown = call.sieve.keep(found, _is_readable)
    names = {name for link in shown for name in (link.source, link.destination)} | ({only} - {""})
    nodes = call.sieve.keep(_services(call.parts.log.view(), names, everything=not only), _may_read)
    return call.json(
        {
            "Window": f"{wanted_s:g}s",
            "Services": [_service(call.parts.log.view(), name) for name in nodes],
            "Edges": [_edge(link, span_s) for link in shown],
        }
    )


def _window_s(text: str) -> float:
    try:
        found = parse_duration_s(text) if text else WINDOW_S
    except InvalidDuration as error:
        raise BadRequest(f"window: {error}") from None
    if not 1 <= found <= SPAN_S:
        raise BadRequest(f"window {text}: use 1s to {SPAN_S}s")
    return found


def _may_read(may: Authorizer, service: str) -> bool:
    return may.allows("service", service, Access.READ)


def _is_readable(may: Authorizer, link: Link) -> bool:
    return _may_read(may, link.source) and _may_read(may, link.destination)


def _services(state: State, named: set[str], *, everything: bool) -> list[str]:
    """Those that have calls, and those that could have."""
    in_mesh = {row.connects_to for row in state.services.values()} - {""} if everything else set()
    return sorted(in_mesh | named)


def _service(state: State, name: str) -> Json:
    statuses = [row.status for row in state.service_nodes(name).rows]
    return {"Name": name, "Instances": len(statuses), "Passing": statuses.count(PASSING)}


def _edge(link: Link, span_s: float) -> Json:
    targets = [
        {"Target": target, "Subset": service_and_subset(target)[1], **_rates(tally, span_s)}
        for target, tally in sorted(link.targets.items())
    ]
    return {
        "Source": link.source,
        "Destination": link.destination,
        **_rates(link.calls, span_s),
        "Targets": targets,
    }


def _rates(tally: Tally, span_s: float) -> Json:
    return {
        "Requests": tally.ended,
        "RequestsPerSecond": round(tally.ended / span_s, 3),
        "Errors": tally.failed,
        "ErrorRate": round(tally.error_rate, 6),
        "P50Ms": round(tally.quantile_s(0.5) * 1000, 3),
        "P99Ms": round(tally.quantile_s(0.99) * 1000, 3),
    }
