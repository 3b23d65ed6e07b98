"""`/tap` of the admin port: live requests, one JSON object a line, for as long as somebody reads.

Its query is that of `weft.tap_query`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from weft.tap_query import parse_tap

from .calls import EndedCall
from .outlets import Outlets
from .tap import Tap


class Feed:
    """What one reader of `/tap` gets. `seconds` is how long."""

    content_type = "application/x-ndjson"

    def __init__(self, tap: Tap, seconds: float) -> None:
        self._tap = tap
        self.seconds = seconds

    async def next(self, wait_s: float) -> bytes:
        """The lines that wait; b"" where none came in `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                told = [await self._tap.queue.get()]
        except TimeoutError:
            return b""
        told += self._tap.waiting()
        return b"".join([told_as(ended) + b"\n" for ended in told])


def told_as(ended: EndedCall) -> bytes:
    """One JSON object, without secrets."""
    return orjson.dumps({"time": round(ended.started_s, 3), **ended.document(), "headers": ended.headers})


@contextmanager
def tapped(outlets: Outlets, query: str) -> Iterator[Feed]:
    """A feed of what `query` asks for. Raises InvalidTapQuery, TapsFull."""
    asked = parse_tap(query)
    with outlets.tapped(asked.filter, asked.rate) as tap:
        yield Feed(tap, asked.seconds)
