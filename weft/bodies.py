"""Bodies of HTTP answers within a bound. One `read(n)` of a stream gives what has come, maybe half of one."""

from typing import Protocol

from .errors import WeftError


class Content(Protocol):
    """What aiohttp has of a body; `read` answers b"" at its end."""

    async def read(self, n: int = -1, /) -> bytes: ...


class BodyTooLarge(WeftError):
    """More than was asked for comes, and is not read."""


async def read_up_to(content: Content, most: int) -> bytes:
    """The first `most` bytes, or the whole where that is less."""
    body = bytearray()
    while len(body) < most and (chunk := await content.read(most - len(body))):
        body += chunk
    return bytes(body)


async def read_whole(content: Content, most: int) -> bytes:
    """Raises BodyTooLarge."""
    body = await read_up_to(content, most + 1)
    if len(body) > most:
        raise BodyTooLarge(f"the answer has more than {most} bytes")
    return body
