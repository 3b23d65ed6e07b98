"""Fetches the keys of auth methods, and keeps them: bounded in time, size, reach and rate (trap 28)."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import structlog

from weft.bodies import BodyTooLarge, read_whole

from ..acl.key_set import (
    DISCOVERY_PATH,
    PublicKey,
    RemoteKeys,
    UnusableAnswer,
    discovered_url,
    read_key_set,
)
from ..agent.errors import ForbiddenAddress
from ..agent.sockets import checked_socket
from .errors import KeysUnreachable

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0  # of one fetch; somebody waits for a login
BODY_BYTES_MAX = 256 * 1024  # sets with certificate chains in them reach some 20 KiB
FRESH_S = 300.0  # as long as a set is believed without looking again
STALE_S = 3600.0  # as long as it is believed when the provider does not answer
AGAIN_S = 10.0  # between two fetches, whatever logins bring: a flood of forged tokens is no flood of fetches
SOURCES_MAX = 64  # methods whose keys are kept


@dataclass(slots=True)
class _Kept:
    keys: tuple[PublicKey, ...] = ()
    fetched_at: float = float("-inf")
    asked_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    """`monotonic` answers seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: OrderedDict[RemoteKeys, _Kept] = OrderedDict()

    async def keys(self, source: RemoteKeys) -> tuple[PublicKey, ...]:
        """What is kept while it is fresh, else what the URL tells. Raises KeysUnreachable."""
        return await self._get(source, lambda kept: self._monotonic() - kept.fetched_at < FRESH_S)

    async def newer(self, source: RemoteKeys, known: tuple[PublicKey, ...]) -> tuple[PublicKey, ...]:
        """For a token that none of `known` has signed: there may be new ones. Raises KeysUnreachable."""
        return await self._get(source, lambda kept: kept.keys != known)

    async def _get(self, source: RemoteKeys, will_do: Callable[[_Kept], bool]) -> tuple[PublicKey, ...]:
        kept = self._entry(source)
        async with kept.lock:
            now = self._monotonic()
            if will_do(kept) or now - kept.asked_at < AGAIN_S:
                if kept.keys:
                    return kept.keys
                raise KeysUnreachable
            kept.asked_at = now
            try:
                kept.keys, kept.fetched_at = await _fetched(source), now
            except (OSError, ssl.SSLError, aiohttp.ClientError, TimeoutError, ValueError) as error:
                self._failed(source, kept, now, error)
            except (UnusableAnswer, ForbiddenAddress) as error:
                self._failed(source, kept, now, error)
            return kept.keys

    def _failed(self, source: RemoteKeys, kept: _Kept, now: float, error: Exception) -> None:
        """Raises KeysUnreachable unless what is kept is young enough."""
        log.warning("keys are not fetched", url=source.url, reason=str(error) or type(error).__name__)
        if now - kept.fetched_at >= STALE_S:
            kept.keys = ()
            raise KeysUnreachable

    def _entry(self, source: RemoteKeys) -> _Kept:
        kept = self._kept.setdefault(source, _Kept())
        self._kept.move_to_end(source)
        while len(self._kept) > SOURCES_MAX:
            self._kept.popitem(last=False)
        return kept


async def _fetched(source: RemoteKeys) -> tuple[PublicKey, ...]:
    context = ssl.create_default_context(cadata=source.ca_pem or None)
    connector = aiohttp.TCPConnector(ssl=context, force_close=True, socket_factory=checked_socket)
    jar = aiohttp.DummyCookieJar()
    limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar, timeout=limit) as http:
        url = source.url
        if source.discovered:
            url = discovered_url(await _body(http, url.rstrip("/") + DISCOVERY_PATH), url)
        return read_key_set(await _body(http, url))


async def _body(http: aiohttp.ClientSession, url: str) -> bytes:
    """Of a 200, without redirects: the operator named one place.

    Raises UnusableAnswer, aiohttp.ClientError.
    """
    async with http.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer:
        if answer.status != 200:
            raise UnusableAnswer(f"{url}: status {answer.status}")
        try:
            return await read_whole(answer.content, BODY_BYTES_MAX)
        except BodyTooLarge as error:
            raise UnusableAnswer(f"{url}: {error}") from None
