"""How long the event loop was held up, by phase, and by what.

A heartbeat on the loop says how late it was. A thread beside it looks at the heartbeat and, where it stays
away, at what the loop's thread is doing: the stack of the longest stall is printed with it.
"""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from weft.aio import Tasks

BEAT_S = 0.002
LATE_S = 0.02  # a heartbeat that stays away for longer is looked into
_FRAMES = 6  # innermost ones that are printed


@dataclass
class Phase:
    """`late_s` and `cpu_s` are the worst of any one turn of the loop: on a shared machine the first counts
    also the time that others had the core. `collection_s`: of one run of the garbage collector."""

    late_s: float = 0.0
    cpu_s: float = 0.0
    collection_s: float = 0.0
    stack: list[str] = field(default_factory=list)
    stack_s: float = 0.0


class Stalls:
    """Watches the loop that it is made on."""

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {}
        self._thread_id = threading.get_ident()
        self._beat = time.monotonic()
        self._collection_began = 0.0

    @asynccontextmanager
    async def watch(self, name: str) -> AsyncIterator[None]:
        phase = self.phases.setdefault(name, Phase())
        tasks, over = Tasks(), threading.Event()
        self._beat = time.monotonic()
        onlooker = threading.Thread(target=self._look_on, args=(phase, over), daemon=True)
        onlooker.start()
        gc.callbacks.append(lambda what, about: self._collected(phase, what))
        tasks.spawn(self._heartbeat(phase), "heartbeat")
        await asyncio.sleep(0)
        try:
            yield
            await asyncio.sleep(2 * BEAT_S)
        finally:
            over.set()
            onlooker.join()
            gc.callbacks.pop()
            await tasks.close()

    async def _heartbeat(self, phase: Phase) -> None:
        while True:
            due, cpu_s = time.monotonic() + BEAT_S, time.thread_time()
            self._beat = due
            await asyncio.sleep(BEAT_S)
            phase.late_s = max(phase.late_s, time.monotonic() - due)
            phase.cpu_s = max(phase.cpu_s, time.thread_time() - cpu_s)

    def _look_on(self, phase: Phase, over: threading.Event) -> None:
        while not over.wait(LATE_S / 2):
            late_s = time.monotonic() - self._beat
            if late_s > max(LATE_S, phase.stack_s):
                phase.stack_s = late_s
                phase.stack = _stack(sys._current_frames().get(self._thread_id))

    def _collected(self, phase: Phase, what: str) -> None:
        if what == "start":
            self._collection_began = time.monotonic()
        else:
            phase.collection_s = max(phase.collection_s, time.monotonic() - self._collection_began)

    def figures(self) -> dict[str, Any]:
        found = self.phases.items()
        return {
            "longest_stall_ms": {name: round(it.late_s * 1e3, 1) for name, it in found},
            "longest_stall_cpu_ms": {name: round(it.cpu_s * 1e3, 1) for name, it in found},
            "longest_collection_ms": {name: round(it.collection_s * 1e3, 1) for name, it in found},
            "longest_stall_in": {name: it.stack for name, it in found if it.stack},
        }


def _stack(frame: Any) -> list[str]:
    """The innermost frames, the outer ones first."""
    found: list[str] = []
    while frame is not None and len(found) < _FRAMES:
        code = frame.f_code
        found.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return found[::-1]
