"""Calls at a fixed rate, whether or not earlier ones are answered, in short windows of two kinds in turns.

A process of its own: `python -m bench.open_loop --port P --connections C --rate N --window-s S --pairs N`;
prints one JSON line, `{"plain": [[latencies of a window in ms, ..], ..], "mirrored": the same}`. All windows
use the same connections, so that no handshake and no first head is among their calls. A latency begins when
its call is written: timers are no finer than 1 ms, and that is not the path's.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter

import uvloop

from . import frames
from .generator import Caller, Run, request_fields

PLAIN, MIRRORED = 0, 1
MARK = ("x-mirror", "yes")  # of calls that are to be copied
WARM_CALLS = 100  # of each kind on each connection, before the first window: memos and pools are filled
_TICK_S = 0.001
_REST_S = 0.02  # between windows, for the copies of the last one
_ANSWERED_WITHIN_S = 20.0


class PacedCaller(Caller):
    """One connection whose calls begin when it is told."""

    def __init__(self, run: Run, authority: str) -> None:
        super().__init__(run, authority, 0)
        fields = request_fields(authority)
        blocks = frames.Blocks(fields, [*fields, MARK])
        self._firsts, self._agains = list(blocks.first), blocks.again

    def call(self, kind: int) -> None:
        """Begins a call. The first two of a connection must be one of each kind, PLAIN first."""
        self._block = self._again = self._firsts.pop(0) if self._firsts else self._agains[kind]
        self._free = 1
        out: list[bytes] = []
        self._call(out)
        if self._free:
            self._run.fail("the proxy gave no credit for a call")
        self._transport.write(b"".join(out))

    def is_open(self) -> bool:
        return self._window > 0

    def _headers(self, flags: int, stream: int, block: bytes) -> None:
        super()._headers(flags, stream, block)
        self._free = 0  # an answer begins no further call


async def windows(
    port: int, connections: int, rate: int, window_s: float, pairs: int
) -> dict[str, list[list[float]]]:
    """Raises RuntimeError if a call fails or is not answered in time."""
    count = int(rate * window_s)
    run = Run(2 * (WARM_CALLS * connections + count * pairs), varying=False)
    callers = await _open(run, port, connections)
    for kind in (PLAIN, MIRRORED) * WARM_CALLS:
        await _window(run, callers, kind, connections, rate)
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    for pair in range(pairs):
        for kind in (PLAIN, MIRRORED) if pair % 2 == 0 else (MIRRORED, PLAIN):
            found[kind].append(await _window(run, callers, kind, count, rate))
            await asyncio.sleep(_REST_S)
    await run.done
    return {"plain": found[PLAIN], "mirrored": found[MIRRORED]}


async def _open(run: Run, port: int, connections: int) -> list[PacedCaller]:
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(connections):
        made = await loop.create_connection(lambda: PacedCaller(run, f"127.0.0.1:{port}"), "127.0.0.1", port)
        callers.append(made[1])
    await _until(run, lambda: all(caller.is_open() for caller in callers))
    return callers


async def _window(run: Run, callers: list[PacedCaller], kind: int, count: int, rate: int) -> list[float]:
    """Latencies in ms of `count` calls, in turns on all connections."""
    run.latencies_s = []
    turns, begun, began = cycle(callers), 0, perf_counter()
    while begun < count:
        due = min(count, int((perf_counter() - began) * rate) + 1)
        for caller in islice(turns, due - begun):
            caller.call(kind)
        begun = due
        await asyncio.sleep(_TICK_S)
    await _until(run, lambda: len(run.latencies_s) == count)
    return [round(latency * 1e3, 3) for latency in run.latencies_s]


async def _until(run: Run, reached: Callable[[], bool]) -> None:
    deadline = perf_counter() + _ANSWERED_WITHIN_S
    while not reached():
        if run.done.done():
            run.done.result()  # raises what failed
        if perf_counter() > deadline:
            raise RuntimeError("calls were not answered in time")
        await asyncio.sleep(_TICK_S)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.open_loop")
    for name in ("port", "connections", "rate", "pairs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--window-s", type=float, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        print(json.dumps(uvloop.run(windows(**vars(_arguments())))))
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
