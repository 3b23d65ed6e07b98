"""`weft tap` against real sidecars."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.conftest import Pair
from tests.support.dev import WEFT
from tests.support.grpc_matrix import connect
from tests.support.matrix_app import SERVICE
from tests.support.mesh import Mesh, in_thread
from tests.support.waiting import until

TIMEOUT_S = 60


@contextmanager
def tapping(mesh: Mesh, *arguments: str) -> Iterator["Tap"]:
    command = [*WEFT, "tap", *arguments, "--http-addr", mesh.registry.http]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Tap(process)
        finally:
            process.kill()


class Tap:
    """A running command, and what it has said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self.told: list[str] = []
        for stream, to in ((process.stdout, self.lines), (process.stderr, self.told)):
            threading.Thread(target=lambda stream=stream, to=to: to.extend(stream), daemon=True).start()

    async def ended(self) -> int:
        return int(await in_thread(self.process.wait, TIMEOUT_S))


async def test_live_requests_are_shown_as_they_end(mesh: Mesh, pair: Pair) -> None:
    filters = ("--method", "Name", "--from", "client", "--limit", "3")
    with tapping(mesh, pair.server.service, *filters) as tap:
        await until(lambda: "tapping 1 sidecar of matrix\n" in tap.told, "the sidecar is asked", TIMEOUT_S)
        async with connect(pair.target) as client:

            async def over() -> bool:
                await client.name()
                return tap.process.poll() is not None

            await until(over, "three were enough", TIMEOUT_S)
        assert await tap.ended() == 0
    assert len(tap.lines) == 3
    for line in tap.lines:
        assert f"  client -> matrix  POST /{SERVICE}/Name  200  OK  " in line, line
    assert tap.told[-1].startswith("3 requests")


async def test_only_what_was_asked_for_and_without_secrets(mesh: Mesh, pair: Pair) -> None:
    arguments = ("--status", "UNIMPLEMENTED", "--limit", "1", "--format", "json")
    with tapping(mesh, pair.server.service, *arguments) as tap:
        await until(lambda: tap.told, "the sidecar is asked", TIMEOUT_S)
        async with connect(pair.target) as client:
            nowhere = client.channel.unary_unary("/no.Such/Method")

            async def over() -> bool:
                await client.name()
                code = await nowhere(b"", metadata=(("authorization", "Bearer s3cret"),)).code()
                return code.name == "UNIMPLEMENTED" and tap.process.poll() is not None

            await until(over, "one was enough", TIMEOUT_S)
        assert await tap.ended() == 0
    (line,) = tap.lines
    told = json.loads(line)
    assert (told["path"], told["grpc_status"], told["direction"]) == ("/no.Such/Method", 12, "inbound")
    assert dict(told["headers"])["authorization"] != "Bearer s3cret"
    assert "s3cret" not in line
    assert told["sidecar"].endswith("/matrix-1-sidecar-proxy") or told["sidecar"].endswith("/matrix-1")
