"""Clients that do one operation at a time, try again elsewhere, and write down what they were told."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import model
from .clock import MS, Scheduler
from .history import History, Operation
from .machines import Request
from .network import Network

OPERATION_US = 4_000 * MS
"""After this a client gives up and calls the outcome unknown."""
PAUSE_AFTER_REFUSAL_US = 40 * MS


@dataclass(frozen=True, slots=True)
class Call:
    request: Request
    consistent: bool
    """Of a read: confirmed by a quorum (read index), not by the leader's lease."""


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    ok: bool
    result: Any = None
    leader: str = ""


class Client:
    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        network: Network,
        history: History,
        draw: random.Random,
        *,
        keys: tuple[str, ...],
        writes: tuple[str, ...],
        think_us: int,
        attempt_us: int,
        servers: Callable[[], list[str]],
        numbers: Callable[[], int],
    ) -> None:
        self.name = name
        self.answered = 0
        self.stopped = False
        self._scheduler, self._network, self._history, self._draw = scheduler, network, history, draw
        self._keys, self._writes, self._think_us = keys, writes, think_us
        self._attempt_us = attempt_us
        self._servers, self._numbers = servers, numbers
        self._seen: dict[str, model.Value] = {}
        self._leader = ""
        self._number = 0
        self._attempt = 0
        self._call: Call | None = None
        self._operation: Operation | None = None
        network.attach(name, self._receive)

    @property
    def idle(self) -> bool:
        return self._operation is None

    def think(self) -> None:
        """Calls after a while, again and again."""
        self._scheduler.after(int(self._draw.expovariate(1.0) * self._think_us) + 1, self._begin)

    def stop(self) -> None:
        """Begins nothing new."""
        self.stopped = True

    def once(self, key: str, kind: str) -> None:
        """Does one more operation, stopped or not."""
        self._number += 1
        request = Request(self.name, self._number, key, kind, self._argument(key, kind))
        self._call = Call(request, consistent=self._draw.random() < 0.4)
        now = self._scheduler.now_us
        self._operation = self._history.call(self.name, key, kind, request.argument, now)
        self._try()

    def _begin(self) -> None:
        if not self.stopped:
            kind = model.READ if self._draw.random() < 0.45 else self._draw.choice(self._writes)
            self.once(self._draw.choice(self._keys), kind)

    def _argument(self, key: str, kind: str) -> Any:
        if kind == model.READ:
            return None
        if kind == model.SWAP:
            return (self._seen.get(key, model.EMPTY), self._numbers())
        return self._numbers()

    def _try(self) -> None:
        self._attempt += 1
        # Not always where it went well: a server that lost the leadership, and does not know, is asked too.
        elsewhere = not self._leader or self._draw.random() < 0.3
        server = self._draw.choice(self._servers()) if elsewhere else self._leader
        self._leader = ""
        self._network.send(self.name, server, self._call)
        self._scheduler.after(self._attempt_us, self._timed_out, self._attempt)

    def _timed_out(self, attempt: int) -> None:
        if attempt == self._attempt and self._operation is not None:
            self._again()

    def _again(self) -> None:
        assert self._operation is not None
        if self._scheduler.now_us - self._operation.called_us > OPERATION_US:
            self._end()
        else:
            self._try()

    def _receive(self, server: str, answer: Answer) -> None:
        if self._operation is None or answer.number != self._number:
            return
        if answer.ok:
            self._operation.returned_us = self._scheduler.now_us
            self._operation.result = answer.result
            if self._operation.kind == model.READ:
                self._seen[self._operation.key] = answer.result
            self._leader = server
            self.answered += 1
            self._end()
        else:
            self._leader = answer.leader
            self._scheduler.after(PAUSE_AFTER_REFUSAL_US, self._timed_out, self._attempt)
            # The refusal's own timer takes over from the attempt's.

    def _end(self) -> None:
        self._operation = None
        self._attempt += 1
        if not self.stopped:
            self.think()
