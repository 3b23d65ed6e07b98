"""What goes wrong: each fault strikes the cluster, and answers how it is undone (or None).

A seed enables a random part of them ("swarm testing": faults hide one another when all are on). After
`Cluster.heal` every undoing is without effect.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from .clock import MS, SECOND
from .network import Weather, between

if TYPE_CHECKING:
    from .cluster import Cluster
    from .server import Server

Undo = Callable[[], None] | None
Fault = Callable[["Cluster", Random], Undo]


def crash_one(cluster: "Cluster", draw: Random) -> Undo:
    return _crash(cluster, draw, _some(cluster, draw, 1))


def crash_some(cluster: "Cluster", draw: Random) -> Undo:
    return _crash(cluster, draw, _some(cluster, draw, draw.randint(1, 3)))


def crash_leader(cluster: "Cluster", draw: Random) -> Undo:
    return _crash(cluster, draw, _leaders(cluster))


def crash_all(cluster: "Cluster", draw: Random) -> Undo:
    return _crash(cluster, draw, cluster.running())


def _crash(cluster: "Cluster", draw: Random, victims: "list[Server]") -> Undo:
    for server in victims:
        cluster.crash(server)

    def restart() -> None:
        for server in victims:
            cluster.restart_after(server, draw.randrange(400 * MS))

    return restart


def crash_in_snapshot(cluster: "Cluster", draw: Random) -> Undo:
    """The next steps of a snapshot, or of trimming the log behind it, are cut off somewhere."""
    for server in cluster.running():
        if draw.random() < 0.5:
            server.crash_in_snapshot_steps = draw.randint(1, 8)
    return None


def failed_sync(cluster: "Cluster", draw: Random) -> Undo:
    """A failed fsync ends the process; nothing is known of what it was to save."""
    for server in _some(cluster, draw, 1):
        server.fail_next_sync = True
    return None


def partition(cluster: "Cluster", draw: Random) -> Undo:
    names = _shuffled(cluster, draw)
    half = draw.randint(1, max(1, len(names) - 1))
    return _cut(cluster, between(names[:half], names[half:]) + between(names[half:], names[:half]))


def partition_with_clients(cluster: "Cluster", draw: Random) -> Undo:
    """Each side keeps some of the clients."""
    names = _shuffled(cluster, draw)
    half = draw.randint(1, max(1, len(names) - 1))
    one, other = names[:half], names[half:]
    for client in sorted(cluster.clients):
        (one if draw.random() < 0.5 else other).append(client)
    return _cut(cluster, between(one, other) + between(other, one))


def isolate_leader(cluster: "Cluster", draw: Random) -> Callable[[], None]:
    """The leader is cut off from the other servers, but not from the clients."""
    leaders = [server.name for server in _leaders(cluster)]
    others = [name for name in cluster.names() if name not in leaders]
    return _cut(cluster, between(leaders, others) + between(others, leaders))


def leader_with_one(cluster: "Cluster", draw: Random) -> Undo:
    """The leader keeps a minority on its side."""
    near = [server.name for server in _leaders(cluster)]
    others = [name for name in _shuffled(cluster, draw) if name not in near]
    near, others = near + others[:1], others[1:]
    return _cut(cluster, between(near, others) + between(others, near))


def one_way(cluster: "Cluster", draw: Random) -> Undo:
    names = _shuffled(cluster, draw)
    half = draw.randint(1, max(1, len(names) - 1))
    return _cut(cluster, between(names[:half], names[half:]))


def deaf_leader(cluster: "Cluster", draw: Random) -> Undo:
    """The leader is heard but hears nobody, or the other way round."""
    leaders = [server.name for server in _leaders(cluster)]
    others = [name for name in cluster.names() if name not in leaders]
    links = between(others, leaders) if draw.random() < 0.5 else between(leaders, others)
    return _cut(cluster, links)


def bridge(cluster: "Cluster", draw: Random) -> Undo:
    """Two halves that only one server between them can reach."""
    _, *names = _shuffled(cluster, draw)
    half = len(names) // 2
    return _cut(cluster, between(names[:half], names[half:]) + between(names[half:], names[:half]))


def _cut(cluster: "Cluster", links: list[tuple[str, str]]) -> Callable[[], None]:
    cluster.network.cut(links)
    return lambda: cluster.network.mend(links)


def bad_weather(cluster: "Cluster", draw: Random) -> Undo:
    fair = cluster.network.weather
    cluster.network.weather = Weather(
        delay_us_min=fair.delay_us_min,
        delay_us_mean=draw.choice((fair.delay_us_mean, 10 * MS, 60 * MS)),
        drop=draw.choice((0.0, 0.02, 0.2)),
        duplicate=draw.choice((0.0, 0.05, 0.3)),
        straggle=draw.choice((0.0, 0.02, 0.1)),
    )

    def clear() -> None:
        cluster.network.weather = fair

    return clear


def election_storm(cluster: "Cluster", draw: Random) -> Undo:
    """Elections under the worst conditions: who grants a vote, or wins, may die a moment later and come
    back at once, and messages come late by about the length of an election."""
    fair = cluster.network.weather
    cluster.storm = True
    cluster.network.weather = replace(
        fair, straggle=draw.choice((0.1, 0.3)), straggle_us_max=cluster.options.election_us * 2
    )
    _crash_briefly(cluster, draw, _leaders(cluster))

    def calm() -> None:
        cluster.storm = False
        cluster.network.weather = fair

    return calm


def _crash_briefly(cluster: "Cluster", draw: Random, victims: "list[Server]") -> None:
    for server in victims:
        cluster.crash(server)
        cluster.restart_after(server, draw.randrange(1, 60 * MS))


def transfer_and_cut(cluster: "Cluster", draw: Random) -> Undo:
    """The leader hands over, and is cut off from the other servers before it hears that it worked."""
    leaders = _leaders(cluster)
    for server in leaders:
        server.transfer(draw.choice(cluster.names()))
    links: list[tuple[str, str]] = []

    def cut() -> None:
        if not cluster.healed:
            names = [server.name for server in leaders]
            others = [name for name in cluster.names() if name not in names]
            links.extend(between(names, others) + between(others, names))
            cluster.network.cut(links)

    cluster.scheduler.after(draw.randrange(1, 20 * MS), cut)
    return lambda: cluster.network.mend(links)


def transfer_to_all(cluster: "Cluster", draw: Random) -> Undo:
    """The leader offers its place to all within moments, so that they stand against each other."""
    for server in _leaders(cluster):
        for name in cluster.names():
            cluster.scheduler.after(draw.randrange(1, 10 * MS), server.transfer, name)
    return None


def cut_off_slow_leader(cluster: "Cluster", draw: Random) -> Undo:
    """The leader's clock is as slow, and those of the others as fast, as leases allow for."""
    bound = cluster.options.drift_ppm_max
    leaders = _leaders(cluster)
    for server in cluster.running():
        server.clock.set_rate(-bound if server in leaders else bound)
    return isolate_leader(cluster, draw)


def pause(cluster: "Cluster", draw: Random) -> Undo:
    return _pause(_some(cluster, draw, 1))


def pause_leader(cluster: "Cluster", draw: Random) -> Undo:
    return _pause(_leaders(cluster))


def pause_cut_off_leader(cluster: "Cluster", draw: Random) -> Undo:
    """The leader sleeps through the election of another, and wakes up cut off from it."""
    leaders = _leaders(cluster)
    resume = _pause(leaders)
    mend = isolate_leader(cluster, draw)
    cluster.scheduler.after(draw.randint(1, 5) * cluster.options.election_us, resume)

    def end() -> None:
        resume()
        mend()

    return end


def _pause(victims: "list[Server]") -> Callable[[], None]:
    for server in victims:
        server.pause()

    def resume() -> None:
        for server in victims:
            server.resume()

    return resume


def slow_disk(cluster: "Cluster", draw: Random) -> Undo:
    victims = _some(cluster, draw, draw.randint(1, 2))
    for server in victims:
        server.sync_us_mean = draw.choice((30 * MS, 300 * MS))

    def usual() -> None:
        for server in victims:
            server.sync_us_mean = cluster.options.sync_us_mean

    return usual


def full_disk(cluster: "Cluster", draw: Random) -> Undo:
    victims = _some(cluster, draw, 1)
    for server in victims:
        server.fill_disk()

    def make_room() -> None:
        for server in victims:
            server.disk_full = False

    return make_room


def drift(cluster: "Cluster", draw: Random) -> Undo:
    """Clocks run apart as far as leases allow for."""
    bound = cluster.options.drift_ppm_max
    for server in cluster.running():
        server.clock.set_rate(draw.choice((-bound, 0, bound, draw.randint(-bound, bound))))
    return None


def corrupt(cluster: "Cluster", draw: Random) -> Undo:
    """Synced bytes of a server go bad. It notices at its start, stays away, and a new one replaces it."""
    if not cluster.operator.may_lose_a_server():
        return None
    for server in _some(cluster, draw, 1):
        cluster.crash(server)
        if server.corrupt_disk(draw):
            cluster.operator.replace(server.name)
        cluster.restart_after(server, draw.randrange(400 * MS))
    return None


def reconfigure(cluster: "Cluster", draw: Random) -> Undo:
    cluster.operator.change_goal(draw)
    return None


def reconfigure_hastily(cluster: "Cluster", draw: Random) -> Undo:
    """Two changes are asked for at once, and then the leader is cut off with a minority."""
    cluster.operator.rush(draw)
    return leader_with_one(cluster, draw)


def transfer(cluster: "Cluster", draw: Random) -> Undo:
    for server in _leaders(cluster):
        server.transfer(draw.choice(cluster.names()))
    return None


FAULTS: dict[str, Fault] = {
    it.__name__: it
    for it in (
        *(crash_one, crash_some, crash_leader, crash_all, crash_in_snapshot, failed_sync),
        *(partition, partition_with_clients, isolate_leader, leader_with_one, one_way, deaf_leader, bridge),
        *(bad_weather, pause, pause_leader, slow_disk, full_disk, drift, corrupt),
        *(reconfigure, reconfigure_hastily, transfer),
        *(election_storm, transfer_to_all, transfer_and_cut, cut_off_slow_leader, pause_cut_off_leader),
    )
}


class Nemesis:
    """Strikes with one of the enabled faults at random times, and undoes it later."""

    def __init__(self, cluster: "Cluster", draw: Random, enabled: tuple[str, ...], gap_us: int) -> None:
        self._cluster, self._draw = cluster, draw
        self._enabled, self._gap_us = enabled, gap_us

    def begin(self) -> None:
        if self._enabled:
            gap_us = int(self._draw.expovariate(1.0) * self._gap_us) + 1
            self._cluster.scheduler.after(gap_us, self._strike)

    def _strike(self) -> None:
        cluster, draw = self._cluster, self._draw
        if cluster.healed:
            return
        name = draw.choice(self._enabled)
        cluster.note("nemesis", name)
        undo = FAULTS[name](cluster, draw)
        if undo is not None:
            lasts_us = draw.choice((200 * MS, 1 * SECOND, 3 * SECOND))
            cluster.scheduler.after(draw.randint(1, lasts_us), self._undo, name, undo)
        self.begin()

    def _undo(self, name: str, undo: Callable[[], None]) -> None:
        if not self._cluster.healed:
            self._cluster.note("nemesis", f"end of {name}")
            undo()


def _some(cluster: "Cluster", draw: Random, count: int) -> "list[Server]":
    running = cluster.running()
    return draw.sample(running, min(count, len(running)))


def _leaders(cluster: "Cluster") -> "list[Server]":
    """Every server that takes itself for the leader."""
    return [server for server in cluster.running() if server.is_leader]


def _shuffled(cluster: "Cluster", draw: Random) -> list[str]:
    names = cluster.names()
    draw.shuffle(names)
    return names
