"""The whole world of one seed: servers, clients, network, clock, nemesis, checkers; and the run itself."""

import random
from collections import Counter

from registry.raft.config import Config
from registry.raft.messages import Append, EntryKind, SnapshotMeta
from registry.raft.node import Node

from . import model
from .clients import Client
from .clock import MS, SECOND, Scheduler
from .history import History
from .invariants import Invariants, Violation
from .linearizability import linearizable
from .nemesis import Nemesis
from .network import Network, between
from .operator import SERVERS_MAX, Operator
from .options import Options
from .server import Server
from .storage import DiskLog

HEALED_ELECTIONS = 40
"""After the last fault all must be well within so many election timeouts (with their splits and retries,
a restart each, and what is left of a membership change)."""


class Cluster:
    node_class: type[Node] = Node
    server_class: type[Server] = Server

    def __init__(self, options: Options, *, trace: bool = False) -> None:
        seed = options.seed
        self.options = options
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, random.Random(f"network {seed}"), options.weather)
        self.invariants = Invariants()
        self.history = History()
        self.healed = False
        self.storm = False
        """Elections go on in bad conditions: see nemesis.election_storm."""
        self.counts: Counter[str] = Counter()
        """How often what happened: shows that seeds reach what they are for."""
        self._starved_terms: set[int] = set()
        self._last_winner = ""
        self.trace: list[str] | None = [] if trace else None
        self.servers: dict[str, Server] = {}
        self.clients: dict[str, Client] = {}
        self._draw = random.Random(f"cluster {seed}")
        self._numbers = 0
        self._bootstrap()
        self.operator = Operator(self, random.Random(f"operator {seed}"), self.names())
        self._add_clients()
        self._nemesis = Nemesis(self, random.Random(f"nemesis {seed}"), options.faults, options.fault_gap_us)

    def _bootstrap(self) -> None:
        names = [f"s{number}" for number in range(1, self.options.servers + 1)]
        for name in names:
            self.servers[name] = self._server(name)
            self.servers[name].bootstrap(SnapshotMeta(config=Config.of(names)))

    def _server(self, name: str) -> Server:
        return self.server_class(name, self, random.Random(f"{name} {self.options.seed}"))

    def _add_clients(self) -> None:
        options = self.options
        keys = tuple(f"k{number}" for number in range(1, options.keys + 1))
        for number in range(1, options.clients + 1):
            name = f"c{number}"
            self.clients[name] = Client(
                name,
                self.scheduler,
                self.network,
                self.history,
                random.Random(f"{name} {options.seed}"),
                keys=keys,
                writes=options.machine().writes,
                think_us=options.think_us,
                attempt_us=options.attempt_us,
                servers=self.names,
                numbers=self._next_number,
            )

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # What servers, operator and nemesis use

    def node(self, name: str, log: DiskLog, draw: random.Random) -> Node:
        options = self.options
        return self.node_class(
            name, log, chance=draw, election_ticks=options.election_ticks, limits=options.limits
        )

    def names(self) -> list[str]:
        """Servers that are, or may come, up."""
        return sorted(name for name, it in self.servers.items() if not (it.damaged or it.retired))

    def running(self) -> list[Server]:
        return [it for _, it in sorted(self.servers.items()) if it.node is not None]

    def add_server(self) -> str | None:
        """Starts a server with an empty disk, which waits to be added."""
        if len(self.servers) == SERVERS_MAX:
            return None
        name = f"s{len(self.servers) + 1}"
        self.servers[name] = self._server(name)
        self.servers[name].start()
        return name

    def retire(self, name: str) -> None:
        self.servers[name].crash()
        self.servers[name].retired = True

    def crash(self, server: Server) -> None:
        server.crash()

    def restart_after(self, server: Server, delay_us: int) -> None:
        self.scheduler.after(delay_us, server.start)

    def crash_for_a_while(self, server: Server) -> None:
        server.crash()
        self.restart_after(server, self._draw.randrange(1, SECOND))

    def granted_in_storm(self, server: Server) -> None:
        """A server granted a vote: it may die of it, and it comes back at once."""
        if self.storm and self._draw.random() < 0.4:
            self.scheduler.after(self._draw.randrange(1, 20 * MS), self._die_in_storm, server, 15 * MS)

    def won_in_storm(self, server: Server, term: int) -> None:
        """A server won: it may die of it, or be cut off, with hardly more than its first entry written."""
        if not self.storm:
            return
        away_us = self._draw.randint(1, 5) * self.options.election_us
        rival, self._last_winner = self._last_winner, server.name
        if rival not in ("", server.name):  # two leaders in a row do not hear each other
            links = between([rival], [server.name]) + between([server.name], [rival])
            self._cut_off_in_storm(links, away_us)
        fate = self._draw.random()
        if fate < 0.5:
            self._starved_terms.add(term)
            delay_us = self._draw.randrange(1, 80 * MS)
            self.scheduler.after(delay_us, self._die_in_storm, server, away_us)
        elif fate < 0.75:
            others = [name for name in self.names() if name != server.name]
            links = between([server.name], others) + between(others, [server.name])
            self.scheduler.after(self._draw.randrange(1, 8 * MS), self._cut_off_in_storm, links, away_us)

    def starves(self, message: Append) -> bool:
        """In some terms of a storm the leader's first entry of its own gets lost on each way: what is left
        of older terms spreads alone (figure 8)."""
        first = message.entries[0] if message.entries else None
        own = first is not None and first.kind is EntryKind.NOOP and first.term == message.term
        return self.storm and own and message.term in self._starved_terms

    def vote_in_storm(self, from_: str, to: str, message: object) -> None:
        """A request for a vote is delivered once more, later."""
        if self.storm:
            self.scheduler.after(self._draw.randrange(80 * MS), self.network.send, from_, to, message)

    def _die_in_storm(self, server: Server, away_us: int) -> None:
        if self.storm and server.node is not None:
            server.crash()
            self.restart_after(server, self._draw.randrange(1, away_us))

    def _cut_off_in_storm(self, links: list[tuple[str, str]], away_us: int) -> None:
        if self.storm:
            self.network.cut(links)
            self.scheduler.after(away_us, self.network.mend, links)

    def note(self, who: str, what: str, detail: object = "") -> None:
        self.counts[what] += 1
        if self.trace is not None:
            self.trace.append(f"{self.scheduler.now_us / 1e6:.6f} {who} {what} {detail}")

    # The run

    def run(self) -> None:
        """All of it. Raises Violation."""
        for server in self.running() or self.servers.values():
            server.start()
        for client in self.clients.values():
            client.think()
        self.operator.begin()
        self._nemesis.begin()
        self.scheduler.run_until(self.options.run_us)
        self.heal()
        self._become_well()
        self._read_everything()
        self.check_history()

    def heal(self) -> None:
        self.note("nemesis", "heal")
        self.healed = True
        self.storm = False
        self.network.heal()
        for server in list(self.servers.values()):
            server.heal()

    def _become_well(self) -> None:
        """Liveness: a leader, the wanted members, every client answered, every server up to date."""
        for client in self.clients.values():
            client.stop()
        end_us = self.scheduler.now_us + HEALED_ELECTIONS * self.options.election_us + 6 * SECOND
        while not self._well():
            if self.scheduler.now_us > end_us:
                raise Violation("liveness", self._why_not_well())
            self.scheduler.run_until(self.scheduler.now_us + 50 * MS)

    def _well(self) -> bool:
        return not self._why_not_well()

    def _why_not_well(self) -> str:
        waiting = [name for name, client in self.clients.items() if not client.idle]
        if waiting:
            return f"no answer to {', '.join(waiting)}"
        if not self.operator.settled:
            return f"the members are not {sorted(self.operator.goal)}"
        members = [self.servers[name] for name in sorted(self.operator.goal)]
        down = [it.name for it in members if it.node is None]
        if down:
            return f"down: {', '.join(down)}"
        if not any(it.is_leader for it in members):
            return "there is no leader"
        if len({it.applied for it in members}) > 1:
            return f"applied: {', '.join(f'{it.name} {it.applied}' for it in members)}"
        return ""

    def _read_everything(self) -> None:
        """One write and one read per key, all of which must succeed, close every history."""
        for kind in (model.PUT, model.READ):
            for key in sorted({it.key for it in self.history.operations}):
                client = next(iter(self.clients.values()))
                answered = client.answered
                client.once(key, kind)
                self._wait_for(client)
                if client.answered == answered:
                    raise Violation("liveness", f"{kind} of {key} got no answer in a healthy cluster")
        self._compare_states()

    def _wait_for(self, client: Client) -> None:
        self.scheduler.run_until(self.scheduler.now_us + 10 * SECOND, stop=lambda: client.idle)

    def _compare_states(self) -> None:
        for name in sorted(self.operator.goal):
            server = self.servers[name]
            self.invariants.state(name, server.applied, server.machine.snapshot())
            self.invariants.finally_holds(name, server.term_and_data)

    def check_history(self) -> None:
        for key, operations in sorted(self.history.by_key().items()):
            if not linearizable(operations):
                story = "\n".join(map(str, operations))
                raise Violation("linearizability", f"no order explains key {key}:\n{story}")


def run(options: Options, *, trace: bool = False) -> Cluster:
    """Runs one seed to its end. Raises Violation."""
    cluster = Cluster(options, trace=trace)
    cluster.run()
    return cluster
