"""Key sets of JWT providers that are fetched, off the hot path: a task per set, requests read what it has.

While there are no keys, tokens of the provider prove nothing, so what asks for them is refused. Keys are kept
while the provider cannot be reached, up to a bound.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

import structlog

from weft.aio import Tasks
from weft.clock import Clock
from weft.errors import WeftError

from .admission import JwtProvider, RemoteKeys
from .events import KEY_FETCHES
from .fetch import get
from .policy.freshness import Freshness
from .policy.tokens import JWKS_BYTES_MAX, Key, KeySet, given_keys, keys_of
from .telemetry import Telemetry

Fetch = Callable[[str, float, int], Awaitable[bytes]]

log = structlog.get_logger(__name__)


class _Fetched:
    """One set and the task that keeps it."""

    def __init__(self, provider: str, remote: RemoteKeys) -> None:
        self.provider = provider  # the first that named it, for people
        self.remote = remote
        self.freshness = Freshness()
        self.news = asyncio.Event()
        self.keys = KeySet((), self.miss)
        self.trouble = ""
        self.task: asyncio.Task[None] | None = None

    def miss(self) -> None:
        """A token names a key that is not here."""
        if not self.keys.missing:
            self.keys.missing = True
            self.freshness.missed()
            self.news.set()


class KeySets:
    """`changed` is called when requests should be judged anew. `fetch` takes URI, seconds, octets."""

    def __init__(
        self,
        tasks: Tasks,
        clock: Clock,
        draw: Callable[[], float],
        telemetry: Telemetry,
        changed: Callable[[], None],
        fetch: Fetch = get,
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._draw = draw
        self._telemetry = telemetry
        self._changed = changed
        self._fetch = fetch
        self._fetched: dict[str, _Fetched] = {}  # by URI

    def configure(self, providers: Iterable[JwtProvider]) -> None:
        """What these name is fetched from now on, and nothing else. Sets that stay keep their keys."""
        wanted = {it.remote.uri: (it.name, it.remote) for it in providers if it.remote is not None}
        for uri in self._fetched.keys() - wanted.keys():
            if task := self._fetched.pop(uri).task:
                task.cancel()
        for uri, (name, remote) in wanted.items():
            known = self._fetched.get(uri)
            if known is None:
                known = self._fetched[uri] = _Fetched(name, remote)
                known.task = self._tasks.spawn(self._keep(known), f"key set of {name}")
            known.remote = remote

    def of(self, provider: JwtProvider) -> KeySet:
        """Raises InvalidResource where a set that is given cannot be read."""
        if provider.remote is not None:
            return self._fetched[provider.remote.uri].keys
        return given_keys(provider)

    def status(self) -> dict[str, object]:
        """For people, by URI."""
        return {
            uri: {
                "provider": it.provider,
                "keys": [key.key_id for key in it.keys.keys],
                "trouble": it.trouble,
            }
            for uri, it in self._fetched.items()
        }

    async def _keep(self, one: _Fetched) -> None:
        while True:
            await self._until_due(one)
            await self._refresh(one)

    async def _until_due(self, one: _Fetched) -> None:
        while (left := one.freshness.due - self._clock.monotonic()) > 0:
            one.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await one.news.wait()

    async def _refresh(self, one: _Fetched) -> None:
        remote = one.remote
        try:
            body = await self._fetch(remote.uri, remote.timeout_s, JWKS_BYTES_MAX)
            keys = keys_of(remote.uri, body.decode())
        except (WeftError, UnicodeDecodeError) as error:
            self._failed(one, f"{error}")
            return
        self._telemetry.count(KEY_FETCHES, one.provider, "fetched").value += 1
        if one.trouble:
            log.info("key set fetched again", provider=one.provider)
        one.trouble = ""
        one.freshness.succeeded(self._clock.monotonic(), remote.cache_s, self._draw())
        self._put(one, keys)

    def _failed(self, one: _Fetched, why: str) -> None:
        self._telemetry.count(KEY_FETCHES, one.provider, "failed").value += 1
        now, remote = self._clock.monotonic(), one.remote
        one.freshness.failed(now, remote.retries, remote.cache_s, self._draw())
        if why != one.trouble:
            log.warning("key set not fetched", provider=one.provider, error=why[:300])
        one.trouble = why
        stale = one.freshness.is_stale(now)
        if stale and one.keys.keys:
            log.error("keys are too old to be believed", provider=one.provider)
        self._put(one, () if stale else one.keys.keys)

    def _put(self, one: _Fetched, keys: tuple[Key, ...]) -> None:
        """Tokens that were refused for want of a key are looked at once more, whether there is a new one or
        not: only then do they make us ask again."""
        if one.keys.missing or keys != one.keys.keys:
            one.keys.put(keys)
            self._changed()
