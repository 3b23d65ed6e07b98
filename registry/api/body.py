"""Bodies of requests: bounded in size, and in the time that they may take to arrive."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

from aiohttp import StreamReader, web

from ..limits import settings as bounds
from ..limits.errors import TooSlow
from .errors import BodyTooLarge

BODY_BYTES_MAX = 512 * 1024  # Consul's bound for values; a definition takes a few KiB


async def blocks_of(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes. Raises TooSlow where a block does not."""
    while block := await _in_time(request.content.readany()):
        yield block


async def _in_time(block: Awaitable[bytes]) -> bytes:
    """Raises TooSlow."""
    try:
        async with asyncio.timeout(bounds.BODY_TIMEOUT_S):
            return await block
    except TimeoutError:
        raise TooSlow(f"the request's body did not come within {bounds.BODY_TIMEOUT_S:g} s") from None


async def read_body(request: web.BaseRequest, too_large: type[BodyTooLarge] = BodyTooLarge) -> bytes:
    """The body within its bound. Raises BodyTooLarge before it has taken in more, TooSlow."""
    size = request.content_length or 0
    if size > BODY_BYTES_MAX:
        raise too_large(BODY_BYTES_MAX, size)
    return await _in_time(_whole(request.content, too_large)) if request.can_read_body else b""


async def _whole(content: StreamReader, too_large: type[BodyTooLarge]) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise too_large(BODY_BYTES_MAX, len(body))
    return bytes(body)
