"""The cluster's operator: adds, promotes, removes and replaces servers while things go wrong.

It has a goal, the set of voters that it wants, and asks the leader for the next step towards it until it
is reached. A server that left the cluster is stopped some time after that, not at once.
"""

import random
from typing import TYPE_CHECKING

from registry.raft.config import Change, ChangeKind, Config

from .clock import MS

if TYPE_CHECKING:
    from .cluster import Cluster
    from .server import Server

LOOK_US = 120 * MS
VOTERS_MAX = 5
SERVERS_MAX = 9
"""Servers that one run ever starts."""


class Operator:
    def __init__(self, cluster: "Cluster", draw: random.Random, voters: list[str]) -> None:
        self.goal = set(voters)
        self._cluster = cluster
        self._draw = draw
        self._settled: Config = Config.of(voters)
        self._settled_index = 0
        self._lost: set[str] = set()

    def begin(self) -> None:
        self._cluster.scheduler.after(LOOK_US, self._look)

    # What the nemesis asks for

    def may_lose_a_server(self) -> bool:
        """Whether a majority is safe without any one of them, and no other is lost already."""
        return len(self.goal) >= 3 and not self._lost and self._settled.voters == self.goal

    def replace(self, name: str) -> None:
        """A server lost its disk: a new one, with a new name, takes its place (traps 19)."""
        self._lost.add(name)
        if name in self.goal:
            self.goal.discard(name)
            self._grow()

    def change_goal(self, draw: random.Random) -> None:
        if self._lost:
            return
        what = draw.choice(("grow", "shrink", "swap"))
        if what != "grow" and len(self.goal) > 1:
            self.goal.discard(draw.choice(sorted(self.goal)))
        if what != "shrink" and len(self.goal) < VOTERS_MAX:
            self._grow()

    def rush(self, draw: random.Random) -> None:
        """Asks every server that takes itself for the leader for two removals at once."""
        if self._lost:
            return
        for leader in self._leaders():
            voters = sorted(leader.current.config.voters - {leader.name})
            if len(voters) >= 2:
                for name in draw.sample(voters, 2):
                    if leader.change(Change(ChangeKind.REMOVE, name)):
                        self.goal.discard(name)

    def _grow(self) -> None:
        if (name := self._cluster.add_server()) is not None:
            self.goal.add(name)

    # Towards the goal

    def _look(self) -> None:
        for leader in self._leaders():
            status = leader.current.status()
            if status.config_committed and status.config_index >= self._settled_index:
                self._settled_index = status.config_index
                self._settle(status.config)
            self._next_step(leader, status.config)
        self._cluster.scheduler.after(LOOK_US, self._look)

    def _leaders(self) -> "list[Server]":
        return [server for server in self._cluster.running() if server.is_leader and not server.paused]

    def _settle(self, config: Config) -> None:
        self._settled = config
        if config.voters == self.goal and not any(config.get(name) for name in self._lost):
            self._lost.clear()
        for name in sorted(self._cluster.servers):
            member = name in self.goal or config.get(name) is not None
            if not member and self._draw.random() < 0.1:
                self._cluster.retire(name)

    def _next_step(self, leader: "Server", config: Config) -> None:
        members = {member.id for member in config.members}
        for name in sorted(self._lost & members):
            leader.change(Change(ChangeKind.REMOVE, name))
            return
        for name in sorted(self.goal - config.voters):
            kind = ChangeKind.PROMOTE if name in members else ChangeKind.ADD
            leader.change(Change(kind, name))
            return
        for name in sorted(members - self.goal):
            if name == leader.name and self._draw.random() < 0.5:
                leader.transfer("")
            elif self._draw.random() < 0.2:
                leader.change(Change(ChangeKind.DEMOTE, name))
            else:
                leader.change(Change(ChangeKind.REMOVE, name))
            return

    @property
    def settled(self) -> bool:
        """Whether the last configuration seen as committed is the one wanted."""
        return self._settled.voters == self.goal and not self._settled.learners
