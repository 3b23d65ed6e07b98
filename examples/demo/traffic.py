"""Customers of `web`: a steady stream of calls, and what came of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from examples.pb.shop.v1 import shop_pb2, shop_pb2_grpc
from weft.aio import Tasks

from .errors import StepFailed

CUSTOMERS = 4
PAUSE_S = 0.02  # between two calls of a customer: about 150 calls a second in all
CALL_TIMEOUT_S = 5.0
POLL_S = 0.02
OK = grpc.StatusCode.OK


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call: when it ended (monotonic seconds), with which status, and who answered."""

    ended: float
    status: grpc.StatusCode
    instance: str = ""


class Traffic:
    def __init__(self, web: "shop_pb2_grpc.WebAsyncStub", tasks: Tasks) -> None:
        self._web = web
        self._tasks = tasks
        self._outcomes: list[Outcome] = []

    def start(self) -> None:
        """Calls go on until the tasks' owner ends them."""
        for number in range(CUSTOMERS):
            self._tasks.spawn(self._customer(), f"customer {number}")

    def mark(self) -> int:
        """A point in the stream of outcomes, for `since`."""
        return len(self._outcomes)

    def since(self, mark: int) -> list[Outcome]:
        return self._outcomes[mark:]

    async def until(
        self,
        holds: Callable[[list[Outcome]], bool],
        mark: int,
        what: str,
        deadline_s: float,
    ) -> list[Outcome]:
        """The outcomes since `mark` as soon as `holds` says so of them. Raises StepFailed."""
        end = time.monotonic() + deadline_s
        while not holds(self.since(mark)):
            if time.monotonic() > end:
                raise StepFailed(f"not within {deadline_s:g} s: {what}; calls: {tally(self.since(mark))}")
            await asyncio.sleep(POLL_S)
        return self.since(mark)

    async def _customer(self) -> None:
        while True:
            self._outcomes.append(await self._buy())
            await asyncio.sleep(PAUSE_S)

    async def _buy(self) -> Outcome:
        try:
            order = await self._web.Buy(shop_pb2.PlaceRequest(item="tea", quantity=1), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return Outcome(time.monotonic(), error.code())
        return Outcome(time.monotonic(), OK, order.instance)


def failures(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.status is not OK]


def tally(outcomes: list[Outcome]) -> str:
    """Who answered how often, then which failures: "orders-1 33, orders-2 35; 2 UNAVAILABLE"."""
    answered = Counter(outcome.instance for outcome in outcomes if outcome.status is OK)
    failed = Counter(outcome.status.name for outcome in failures(outcomes))
    parts = [", ".join(f"{name} {count}" for name, count in sorted(answered.items()))]
    parts += [f"{count} {name}" for name, count in sorted(failed.items())]
    return "; ".join(part for part in parts if part) or "none"


def only_from(instances: set[str], calls: int) -> Callable[[list[Outcome]], bool]:
    """Whether the latest `calls` calls all went well and exactly these instances answered them."""

    def holds(outcomes: list[Outcome]) -> bool:
        latest = outcomes[-calls:]
        return (
            len(latest) == calls
            and not failures(latest)
            and {outcome.instance for outcome in latest} == instances
        )

    return holds
