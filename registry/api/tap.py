"""`/v1/mesh/tap/:service`: live requests, as the sidecars of a service see them. Weft's own, not Consul's."""

from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlencode

import orjson

from weft.aio import Tasks
from weft.tap_query import FIELDS, TapQuery, parse_tap

from ..acl.access import Access
from ..acl.caller import Caller
from ..operator.tapping import Batch, Tapping
from .caller_now import may_still
from .errors import BadRequest
from .handling import Call, on_server
from .respond import Reply

LIMIT_MAX = 100_000
WAIT_S = 1.0  # how late a withdrawn token, and the end, are noticed
IDLE_S = 10.0  # an empty line at the latest: proxies and clients see that it lives
CONTENT_TYPE = "application/x-ndjson"


async def tap(call: Call) -> Reply:
    """Live requests of a service, a JSON object a line; by `status`, `method`, `path`, `source`,
    `destination`, `direction` (`inbound` where nothing is said), `failed`, `rate`; `limit`, `seconds`.

    What people see of each other's requests is the owner's business: it takes service:write on the service,
    or operator:write.
    """
    service = call.needed("Missing service name")
    _check(call.caller, service)
    said = {name: call.query.text(name) for name in FIELDS if call.query.flag(name)}
    query = urlencode({"direction": "inbound"} | said)
    asked, limit = parse_tap(query), _limit(call.query.text("limit"))
    tapping = on_server(call.parts.tapping)
    tapping.check()
    return Reply(200, content_type=CONTENT_TYPE, stream=_told(call, tapping, service, query, asked, limit))


def _check(caller: Caller, service: str) -> None:
    """Raises PermissionDenied."""
    if not _may(service, caller):
        caller.require("service", service, Access.WRITE)


def _limit(text: str) -> int:
    if not text:
        return LIMIT_MAX
    if not (text.isascii() and text.isdigit() and 0 < int(text[:8]) <= LIMIT_MAX):
        raise BadRequest(f"limit {text[:20]!r}: use 1 to {LIMIT_MAX}")
    return int(text)


async def _told(
    call: Call, tapping: Tapping, service: str, query: str, asked: TapQuery, limit: int
) -> AsyncIterator[bytes]:
    """Until there were enough, the time is over, or the token is no longer good for it."""
    clock = call.parts.clock.monotonic
    ends, tasks, may = clock() + asked.seconds, Tasks(), partial(_may, service)
    try:
        with tapping.here(service, query) as reader:
            tapping.follow(reader, tasks)
            sidecars, spoke_at = -1, clock()
            while limit > 0 and (left_s := ends - clock()) > 0 and await may_still(call, may):
                batch = await reader.next(min(WAIT_S, left_s))
                told, limit = _lines(batch, sidecars, limit)
                sidecars = batch.sidecars
                if told or clock() - spoke_at > IDLE_S:
                    spoke_at = clock()
                    yield told or b"\n"
    finally:
        await tasks.close()


def _lines(batch: Batch, sidecars: int, limit: int) -> tuple[bytes, int]:
    """What is sent, and how many requests may follow. What is said about the tap itself is in `tap`."""
    told: list[dict[str, dict[str, object]]] = [{"tap": {"note": note}} for note in batch.notes]
    if batch.sidecars != sidecars:
        told.append({"tap": {"sidecars": batch.sidecars}})
    if batch.lost:
        told.append({"tap": {"lost": batch.lost}})
    lines = [*map(orjson.dumps, told), *batch.requests[:limit]]
    return b"".join([line + b"\n" for line in lines]), limit - len(batch.requests[:limit])


def _may(service: str, caller: Caller) -> bool:
    allows = caller.may.allows
    return allows("operator", "", Access.WRITE) or allows("service", service, Access.WRITE)
