"""Reads that may be old: asked of a server while one answers, and of this agent's memory while none does.

`?cached` is also answered from memory while that is young enough: a second, or the client's `max-age`. A read
with neither `?cached` nor `?stale` is a server's alone. Whether the token may still read this is asked first,
each time (`callers`): what was kept under other rules is not found any more.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from weft.errors import WeftError

from ..api.query import Consistency, Query
from ..errors import NoServers, OutcomeUnknown
from .cache import ENTRY_BYTES_MAX, Cache, Kept, is_discovery, key_of
from .callers import RemoteCallers
from .headers import end_to_end
from .servers import NO_LEADER, Asked, Reached, Servers

FRESH_S = 1.0  # how old `?cached` answers may be where the client says nothing, while servers answer
STALE_MAX_S = 3 * 24 * 3600.0  # while none does; as long as Consul keeps such answers
PACED_S = (
    5.0  # a blocking query that nobody can answer waits this long, or its client would ask at once again
)
_DIRECTIVE = re.compile(r"(max-age|stale-if-error)=(\d{1,10})")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client allows. Ages in seconds: of an answer while servers answer, and while none does."""

    cached: bool
    fresh_s: float
    stale_s: float
    parked_s: float  # 0: does not wait


def wish_of(method: str, path: str, query: Query, headers: Mapping[str, str]) -> Wish | None:
    """None for what is never answered from memory. Raises BadRequest."""
    if method != "GET" or not is_discovery(path) or query.text("near") == "_ip":
        return None
    cached = query.flag("cached")
    if not cached and query.consistency(headers) is not Consistency.STALE:
        return None
    query.consistency(headers)  # what excludes each other is refused here as there
    control = headers.get("Cache-Control", "").lower()
    ages = {name: float(seconds) for name, seconds in _DIRECTIVE.findall(control)}
    fresh_s = 0.0 if "must-revalidate" in control or "no-cache" in control else ages.get("max-age", FRESH_S)
    bound_s = query.max_stale_s()
    stale_s = ages.get("stale-if-error", STALE_MAX_S if bound_s is None else bound_s)
    parked_s = query.wait_s() if query.index() else 0.0
    return Wish(cached, fresh_s, min(stale_s, STALE_MAX_S), parked_s)


class CachedReads:
    """Answers what `wish_of` found. `now` is a monotonic clock in seconds."""

    def __init__(
        self, servers: Servers, callers: RemoteCallers, cache: Cache, now: Callable[[], float]
    ) -> None:
        self._servers = servers
        self._callers = callers
        self._cache = cache
        self._now = now

    async def answer(self, asked: Asked, wish: Wish, secret: str) -> web.Response | Reached:
        """From memory, or a server's: whole, or begun where it is too large to keep.

        Raises TokenUnknown, NoServers, OutcomeUnknown.
        """
        await self._callers.ask(secret)
        fingerprint = self._callers.known(secret).fingerprint
        key = key_of(asked.target, secret, fingerprint, asked.headers.get("Accept-Encoding", ""))
        kept = self._cache.get(key)
        if kept and wish.cached and not wish.parked_s and kept.age_s(self._now()) <= wish.fresh_s:
            return self._from_memory(kept)
        try:
            found = await self._fetched(asked)
        except (NoServers, OutcomeUnknown) as error:
            return await self._without_servers(kept, wish, error)
        if isinstance(found, Reached):
            return found
        if found.status == 200:
            self._cache.put(key, found.kept(self._now()))
        elif found.status == 500 and NO_LEADER in found.body:
            return await self._without_servers(kept, wish, None) if kept else found.response()
        else:
            self._cache.drop(key)
        return found.response({"X-Cache": "MISS"} if wish.cached else {})

    async def _without_servers(self, kept: Kept | None, wish: Wish, error: WeftError | None) -> web.Response:
        """Raises `error` where nothing that is young enough is known."""
        if kept is None or kept.age_s(self._now()) > wish.stale_s:
            raise error or NoServers("No cluster leader")
        if wish.parked_s:
            await asyncio.sleep(min(wish.parked_s, PACED_S))
        return self._from_memory(kept, is_alone=True)

    def _from_memory(self, kept: Kept, *, is_alone: bool = False) -> web.Response:
        age_s = kept.age_s(self._now())
        headers = CIMultiDict(kept.headers)
        headers.update({"X-Cache": "HIT", "Age": str(int(age_s))})
        if is_alone:
            contact = {"X-Consul-LastContact": str(int(age_s * 1000)), "X-Consul-KnownLeader": "false"}
            headers.update(contact)
        return web.Response(status=200, headers=headers, body=kept.body)

    async def _fetched(self, asked: Asked) -> "Fetched | Reached":
        """A Reached is the caller's to close. Raises NoServers, OutcomeUnknown."""
        found = await self._servers.begin(asked)
        body = bytearray(found.head)
        try:
            while block := await found.response.content.readany():
                body += block
                if len(body) > ENTRY_BYTES_MAX:
                    return Reached(found.status, found.headers, bytes(body), found.response)
        except BaseException as error:
            found.response.close()
            if isinstance(error, OSError):  # aiohttp's own among them
                raise OutcomeUnknown(f"a server's answer broke off ({error})") from error
            raise
        found.response.release()
        return Fetched(found.status, end_to_end(found.headers), bytes(body))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A server's answer, whole."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def kept(self, now: float) -> Kept:
        return Kept(self.headers, self.body, now)

    def response(self, more: Mapping[str, str] | None = None) -> web.Response:
        headers = CIMultiDict(self.headers)
        headers.update(more or {})
        return web.Response(status=self.status, headers=headers, body=self.body)
