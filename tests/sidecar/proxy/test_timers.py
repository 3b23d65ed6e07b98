"""One timer for all limits: what is due is found, early ones come first, and looking has its bound."""

import asyncio
from dataclasses import dataclass

from sidecar.h2.outbox import NEVER, Outbox
from sidecar.proxy.timers import Timers
from tests.support.waiting import until


@dataclass(eq=False)
class Waiting:
    due: float = NEVER


class World:
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(loop.time, loop.call_soon)
        self.running: list[Waiting] = []
        self.ended: list[Waiting] = []
        self.looks = 0
        self.timers = Timers(self.outbox, self._running, self._expired)  # type: ignore[arg-type]

    def _running(self) -> list[Waiting]:
        self.looks += 1
        return self.running

    def _expired(self, waiting: Waiting, now: float) -> None:
        assert waiting.due <= now
        self.running.remove(waiting)
        self.ended.append(waiting)

    def add(self, seconds: float) -> Waiting:
        made = Waiting(self.outbox.clock() + seconds)
        self.running.append(made)
        if made.due < self.outbox.due:
            self.outbox.arm(made.due)
        return made


async def test_what_is_due_is_found_in_the_order_of_moments() -> None:
    world = World()
    late, early, latest = world.add(0.2), world.add(0.05), world.add(30.0)
    await until(lambda: len(world.ended) == 2, "two moments come")
    assert world.ended == [early, late]
    assert world.outbox.due == latest.due
    world.timers.close()


async def test_what_ended_by_itself_costs_a_look_and_no_more() -> None:
    world = World()
    for _ in range(1000):
        world.add(0.05)
    world.running.clear()
    await asyncio.sleep(0.1)
    assert (world.looks, world.ended, world.outbox.due) == (1, [], NEVER)


async def test_a_moment_centuries_away_arms_nothing_that_overflows() -> None:
    world = World()
    world.add(3.6e11)
    soon = world.add(0.01)
    await until(lambda: world.ended == [soon], "the near one")
    world.timers.close()


async def test_looking_rests_in_proportion_to_what_it_took() -> None:
    world = World()
    slow = 0.01

    def running() -> list[Waiting]:
        end = world.outbox.clock() + slow
        while world.outbox.clock() < end:  # as with very many requests under way
            pass
        return world._running()

    world.timers._running = running  # type: ignore[assignment]
    begun = world.outbox.clock()
    while world.outbox.clock() - begun < 1.0:
        world.add(0.001)
        await asyncio.sleep(0.001)
    assert world.looks <= 5  # each rests for 32 times what it took
    world.timers.close()


async def test_one_that_is_not_ended_when_it_is_told_is_not_told_for_ever() -> None:
    world = World()
    world.timers._expired = lambda waiting, now: world.ended.append(waiting)  # type: ignore[arg-type]
    stubborn = world.add(0.01)
    await until(lambda: world.ended, "it is told")
    await asyncio.sleep(0.05)
    assert world.ended == [stubborn] and stubborn.due == NEVER
