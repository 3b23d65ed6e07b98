"""Unary gRPC calls at a fixed rate, each with an id of its own in its message, and none of which may fail.

A process of its own: `python -m tests.support.soak_load --port P --rate R --seconds S --first ID`. Prints as
JSON how many were sent and answered, and the first failure, if any. Ids count up from the first and are the
first eight octets of the message.
"""

import argparse
import asyncio
import json
import struct
from time import perf_counter

import uvloop

from bench import frames
from bench.generator import Caller, Run

CONNECTIONS, STREAMS = 8, 100  # more than these may not be in flight: then the rate is what the mesh makes it
_TICK_S = 0.005
_LAST_S = 20.0  # for the answers that are due when the time is over
_PADDING = b"q" * 92
ID = struct.Struct(">Q")


class Paced(Run):
    """`left` grows with the time."""

    def __init__(self, first: int) -> None:
        super().__init__(0, varying=False)
        self.first = first
        self.pending = 1 << 60  # it ends by the clock
        self.sent = self.over = 0

    def finished(self, latency_s: float) -> None:
        self.over += 1
        self.pending -= 1
        if not self.pending and not self.done.done():
            self.done.set_result(None)


class SoakCaller(Caller):
    """As `Caller`, with ids."""

    def kick(self) -> None:
        out: list[bytes] = []
        self._call(out)
        if out:
            self._transport.write(b"".join(out))

    def _call(self, out: list[bytes]) -> None:
        run = self._run
        assert isinstance(run, Paced)
        while self._free and run.left and self._window > len(_PADDING) + ID.size + 5:
            run.left -= 1
            self._free -= 1
            message = frames.grpc_message(ID.pack(run.first + run.sent) + _PADDING)
            run.sent += 1
            self._window -= len(message)
            out += (
                frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, self._block),
                frames.frame(frames.DATA, frames.END_STREAM, self._stream, message),
            )
            self._block = self._again
            self._started[self._stream] = perf_counter()
            self._stream += 2


async def load(port: int, rate: float, seconds: float, first: int) -> dict[str, object]:
    loop, run = asyncio.get_running_loop(), Paced(first)
    callers: list[SoakCaller] = []
    for _ in range(CONNECTIONS):
        made = await loop.create_connection(
            lambda: SoakCaller(run, f"127.0.0.1:{port}", STREAMS), "127.0.0.1", port
        )
        callers.append(made[1])
    began, granted = perf_counter(), 0
    while (passed := perf_counter() - began) < seconds and not run.done.done():
        due = int(passed * rate)
        run.left, granted = min(run.left + due - granted, int(rate)), due
        for caller in callers:
            caller.kick()
        callers.append(callers.pop(0))
        await asyncio.sleep(_TICK_S)
    run.left = 0
    run.pending = run.sent - run.over
    if run.pending:
        await asyncio.wait([run.done], timeout=_LAST_S)
    error = run.done.exception() if run.done.done() else None
    return {"sent": run.sent, "answered": run.over, "failure": str(error) if error else ""}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.soak_load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(**vars(_arguments())))))
