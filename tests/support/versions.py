"""A service in two versions, and users that call it: HTTP applications that say which one answers."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp

from weft.aio import Tasks

HOST = "127.0.0.1"
USERS = 40


@dataclass
class Version:
    """What an application does, from now on."""

    name: str
    status: int = 200
    delay_s: float = 0.0
    port: int = 0


@contextmanager
def application(version: Version) -> Iterator[Version]:
    """Answers every GET with the version's name, for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(version.delay_s)
            body = version.name.encode()
            self.send_response(version.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    version.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield version
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Calls:
    """What users got, oldest first."""

    by_user: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: list[tuple[str, int]] = field(default_factory=list)  # version and status

    @property
    def failed(self) -> int:
        return sum(status >= 500 for _, status in self.answers)

    def latest(self, count: int) -> set[str]:
        """Who answered the newest calls; empty where there are fewer."""
        newest = self.answers[-count:]
        return {version for version, _ in newest} if len(newest) == count else set()


@asynccontextmanager
async def calling(url: str, pause_s: float = 0.02) -> AsyncIterator[Calls]:
    """Users, each with its `x-user`, that call in turns, some at once."""
    calls, tasks = Calls(), Tasks()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:

        async def one(user: str) -> None:
            try:
                async with session.get(url, headers={"x-user": user}) as answer:
                    told = (await answer.text(), answer.status)
            except aiohttp.ClientError:
                told = ("", 599)
            calls.answers.append(told)
            calls.by_user[user].append(told[0])

        async def some(first: int) -> None:
            while True:
                for number in range(first, USERS, 4):
                    await one(f"user-{number}")
                    await asyncio.sleep(pause_s)

        for first in range(4):
            tasks.spawn(some(first), "users")
        try:
            yield calls
        finally:
            await tasks.close()
