"""Durable writes that neither the event loop nor the interpreter's lock waits for.

A thread of Python that writes and syncs needs the interpreter three times per write, while the event loop
is busy with applying entries: on the leader and on each follower that cost 0.2 ms of every write. Here the
kernel does the write (io_uring), or a thread in C where io_uring is not to be had; Python is told when it is
durable.
"""

import asyncio
import contextlib
import errno
from typing import Any

import structlog

from .disk import Written

log = structlog.get_logger(__name__)

QUEUE_MAX = 16  # one write of the log is under way at a time


def disk_writer() -> "KernelWriter | ThreadWriter":
    """The best that this machine has."""
    try:
        return KernelWriter()
    except (ImportError, OSError) as error:  # an old kernel, or one that does not allow it
        log.info("writes of the log go by a thread: the kernel has no io_uring for us", reason=str(error))
        return ThreadWriter()


class _UnderWay:
    """Operations by number: their buffers have to stay where they are, and none refers to itself."""

    def __init__(self) -> None:
        self._operations: dict[int, Any] = {}
        self._number = 0

    def add(self, operation: Any) -> int:
        self._number += 1
        self._operations[self._number] = operation
        return self._number

    def ended(self, number: int, result: int) -> int:
        """The bytes that were written, or minus an errno."""
        operation = self._operations.pop(number)
        return result if result != -1 else -(operation.error or errno.EIO)


class KernelWriter:
    """io_uring. Raises ImportError or OSError where there is none."""

    def __init__(self) -> None:
        from caio.linux_uring import Context, Operation

        self._new: Any = Operation.write
        self._context = Context(max_requests=QUEUE_MAX)
        self._under_way = _UnderWay()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._context.fileno, self._completed)

    def write(self, handle: int, data: bytes, offset: int, done: Written) -> None:
        operation = self._new(data, handle, offset)
        number = self._under_way.add(operation)

        def told(result: int) -> None:
            done(self._under_way.ended(number, result))

        operation.set_callback(told)
        self._context.submit(operation)
        self._context.flush()

    def _completed(self) -> None:
        with contextlib.suppress(BlockingIOError):  # told twice of the same
            self._context.poll()
        while self._context.process_events():
            continue

    def close(self) -> None:
        """Nothing may be under way."""
        self._loop.remove_reader(self._context.fileno)


class ThreadWriter:
    """One thread of caio's, which holds the interpreter's lock only to tell that it is done."""

    def __init__(self) -> None:
        from caio.thread_aio import Context, Operation

        self._new: Any = Operation.write
        self._context = Context(max_requests=QUEUE_MAX, pool_size=1)
        self._under_way = _UnderWay()
        self._loop = asyncio.get_running_loop()

    def write(self, handle: int, data: bytes, offset: int, done: Written) -> None:
        operation = self._new(data, handle, offset)
        number = self._under_way.add(operation)

        def told(result: int) -> None:
            found = self._under_way.ended(number, result)
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(done, found)

        operation.set_callback(told)
        self._context.submit(operation)

    def close(self) -> None:
        """Nothing may be under way."""
        self._context.close()
