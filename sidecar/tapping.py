"""`/tap` of the admin port: live requests, one JSON object a line, for as long as somebody reads.

Its query is that of `weft.tap_query`.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import orjson

from weft.tap_query import parse_tap

from .calls import EndedCall
from .outlets import Outlets
from .tap import Tap


class Feed(Protocol):
    """What one reader of a tap gets. `seconds` is how long."""

    content_type: str
    seconds: float

    async def next(self, wait_s: float) -> bytes:
        """The lines that wait; b"" where none came in `wait_s`."""

    def lost(self) -> int:
        """Requests that were asked for and not told, since this was asked last."""


OpenTap = Callable[[str], AbstractContextManager[Feed]]
"""A feed of what a query asks for. Raises InvalidTapQuery, TapsFull."""


class TapFeed:
    """Of a tap in this process."""

    content_type = "application/x-ndjson"

    def __init__(self, tap: Tap, seconds: float) -> None:
        self._tap = tap
        self.seconds = seconds

    async def next(self, wait_s: float) -> bytes:
        try:
            async with asyncio.timeout(wait_s):
                told = [await self._tap.queue.get()]
        except TimeoutError:
            return b""
        told += self._tap.waiting()
        return b"".join([told_as(ended) + b"\n" for ended in told])

    def lost(self) -> int:
        lost, self._tap.lost = self._tap.lost, 0
        return lost


def told_as(ended: EndedCall) -> bytes:
    """One JSON object, without secrets."""
    return orjson.dumps({"time": round(ended.started_s, 3), **ended.document(), "headers": ended.headers})


@contextmanager
def tapped(outlets: Outlets, query: str) -> Iterator[Feed]:
    """As OpenTap, of a process that serves."""
    asked = parse_tap(query)
    with outlets.tapped(asked.filter, asked.rate) as tap:
        yield TapFeed(tap, asked.seconds)
