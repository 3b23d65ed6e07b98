"""`/v1/agent/service/:id`: one service of this node, and waiting until it is another (`?hash=`).

Nothing but the definition counts: indexes are left out of the hash, so that checks do not wake who waits.
"""

import hashlib

import orjson

from ..acl.access import Access
from ..acl.caller import Caller
from ..agent.errors import UnknownService
from ..catalog import watches
from .blocking import JITTER_SHARE
from .caller_now import caller_now
from .errors import NotFound
from .handling import Call
from .respond import Reply
from .views import Json, agent_service

_INDEXES = ("CreateIndex", "ModifyIndex")


async def service(call: Call) -> Reply:
    """The service as it is, or once it has another hash than the client's. Waits on this node only; the
    token is resolved anew for each look (trap 26)."""
    name, known = call.needed("Missing service ID"), call.query.text("hash")
    parts = call.parts
    wait_s = call.query.wait_s() * (1 + parts.draw() / JITTER_SHARE)
    deadline = parts.clock.monotonic() + wait_s
    while True:
        caller = await caller_now(call)
        index = parts.log.view().index
        shown = _look(call, caller, name)
        left_s = deadline - parts.clock.monotonic()
        if shown["ContentHash"] != known or left_s <= 0:
            return call.json(shown, {"X-Consul-ContentHash": shown["ContentHash"]})
        with parts.limits.watch(call.caller.accessor_id, call.source):
            await parts.log.wait((watches.node(parts.agent.node.name),), index, left_s)


def _look(call: Call, caller: Caller, name: str) -> Json:
    """Raises NotFound, PermissionDenied."""
    try:
        row = call.parts.agent.service(name)
    except UnknownService:
        raise NotFound(f"unknown service ID: {name}") from None
    caller.require("service", row.name, Access.READ)
    shown = agent_service(row)
    return shown | {"ContentHash": content_hash(shown)}


def content_hash(shown: Json) -> str:
    """16 hexadecimal digits of what a client sees, indexes left out."""
    told = {key: value for key, value in shown.items() if key not in _INDEXES}
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
