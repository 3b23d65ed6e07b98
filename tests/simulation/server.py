"""One simulated server: drives the real `registry.raft.Node` as `registry/raft/ready.py` demands.

The process dies in `crash` with all its memory; the disk stays. Work that takes time on the disk is a
generator that yields the microseconds of each step, so that a crash can come between any two.
"""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from registry.raft.config import Change
from registry.raft.errors import RaftError
from registry.raft.messages import Append, Entry, EntryKind, SnapshotMeta, Vote, VoteReply
from registry.raft.node import Node
from registry.raft.ready import Ready, Role

from . import model
from .clients import Answer, Call
from .clock import MS, LocalClock
from .disk import Disk
from .invariants import Violation
from .storage import DiskDamaged, DiskLog

if TYPE_CHECKING:
    from .cluster import Cluster

WRITE_US = 100
TELL_US_MAX = 5 * MS  # the longest that a commit index waits for entries to carry it
STEP_OF_SNAPSHOT_US = 2 * MS
INCOMING, OUTGOING = "tmp-incoming", "tmp-snapshot"


class Server:
    def __init__(self, name: str, cluster: "Cluster", draw: random.Random) -> None:
        options = cluster.options
        self.name = name
        self.disk = Disk()
        self.clock = LocalClock(cluster.scheduler, 0, draw.randrange(10_000_000))
        self.node: Node | None = None
        self.paused = False
        self.damaged = False
        """Its disk is known to have lost synced data: it never starts again."""
        self.retired = False
        self.sync_us_mean = options.sync_us_mean
        self.disk_full = False
        self.fail_next_sync = False
        self.crash_in_snapshot_steps = 0
        self._cluster = cluster
        self._draw = draw
        self._life = 0
        self._corrupted = False

    # Its life

    def bootstrap(self, meta: SnapshotMeta) -> None:
        """Puts the first configuration on the empty disk."""
        self.disk.create("snap-00000000")
        self.disk.append("snap-00000000", meta)
        self.disk.sync("snap-00000000")
        self.disk.sync_names()

    def start(self) -> None:
        if self.node is not None or self.damaged or self.retired:
            return
        options = self._cluster.options
        try:
            self.log = DiskLog(self.disk, options.segment_records)
        except DiskDamaged as damage:
            if not self._corrupted:
                raise Violation("durability", f"{self.name} lost synced data in a crash: {damage}") from None
            self._note("damaged", damage)
            self.damaged = True
            return
        self.machine = options.machine()
        self.applied = self.log.snapshot().index
        data = self.log.snapshot_data()
        if data:
            self.machine.restore(data)
        self._begin_life()
        self.node = self._cluster.node(self.name, self.log, self._draw)
        self._cluster.network.attach(self.name, self._arrived)
        self._note("start", f"applied {self.applied}, log {self.log.first_index()}..{self.log.last_index()}")
        self._schedule_tick()
        self._pump()

    def _begin_life(self) -> None:
        self._readies: list[Ready] = []  # taken from the node, not yet written
        self._writing = False
        self._telling = False
        self._snapshotting = False
        self._proposals: dict[tuple[int, int], tuple[str, int]] = {}  # (index, term) -> (client, number)
        self._reads: dict[int, tuple[str, int, str]] = {}  # token -> (client, number, key)
        self._confirmed: list[tuple[int, tuple[str, int, str]]] = []  # index to be applied first, read
        self._token = 0
        self._known_commit = 0
        self._ticks_from_us = self.clock.now_us()
        self._held: list[tuple[Any, ...]] = []

    def crash(self) -> None:
        if self.node is None:
            return
        self._note("crash", "")
        self.node = None
        self.paused = False
        self.crash_in_snapshot_steps = 0
        self.fail_next_sync = False
        self._life += 1
        self._cluster.network.detach(self.name)
        self.disk.crash(self._draw)

    def pause(self) -> None:
        """Stops the process; the world goes on, and so does its clock."""
        self.paused = self.node is not None

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            held, self._held = self._held, []
            self._draw.shuffle(held)  # the loop may find its timers or its sockets first
            for do, *args in held:
                self._cluster.scheduler.after(0, self._if_alive, self._life, do, *args)

    def heal(self) -> None:
        """Nothing is wrong with this server any more, unless its disk is damaged."""
        self.sync_us_mean = self._cluster.options.sync_us_mean
        self.disk_full = self.fail_next_sync = False
        self.crash_in_snapshot_steps = 0
        self.clock.set_rate(0)
        self.resume()
        self.start()

    def corrupt_disk(self, draw: random.Random) -> bool:
        """Breaks a synced record that is not the last one: that would pass for a torn write."""
        places = [
            (name, position)
            for name, file in sorted(self.disk.files.items())
            for position in range(file.synced - (1 if name.startswith("wal-") else 0))
        ]
        if places:
            self.disk.corrupt(*draw.choice(places))
            self._corrupted = True
        return bool(places)

    @property
    def is_leader(self) -> bool:
        return self.node is not None and self.node.role is Role.LEADER

    @property
    def current(self) -> Node:
        if self.node is None:
            raise LookupError(f"{self.name} is down")
        return self.node

    # Events

    def _after(self, delay_us: int, do: Any, *args: Any) -> None:
        self._cluster.scheduler.after(delay_us, self._if_alive, self._life, do, *args)

    def _if_alive(self, life: int, do: Any, *args: Any) -> None:
        if life == self._life and self.node is not None:
            if self.paused:
                self._held.append((do, *args))
            else:
                do(*args)

    def _schedule_tick(self) -> None:
        due_us = self._ticks_from_us + (self.current.now + 1) * self._cluster.options.tick_us
        self._after(self.clock.true_delay_us(due_us - self.clock.now_us()), self._tick)

    def _tick(self) -> None:
        self._deliver_ticks()
        self._pump()
        self._schedule_tick()

    def _deliver_ticks(self) -> None:
        if due := self._ticks_due():
            self.current.tick(due)

    def _ticks_due(self) -> int:
        passed = (self.clock.now_us() - self._ticks_from_us) // self._cluster.options.tick_us
        return max(0, passed - self.current.now)

    def _arrived(self, sender: str, message: Any) -> None:
        self._if_alive(self._life, self._receive, sender, message)

    def _receive(self, sender: str, message: Any) -> None:
        self._deliver_ticks()  # a pause is over: first the time, then what arrived meanwhile
        if isinstance(message, Call):
            self._serve(sender, message)
        else:
            self.current.step(message)
        self._pump()

    # Clients

    def _serve(self, client: str, call: Call) -> None:
        number = call.request.number
        try:
            if call.request.kind == model.READ:
                self._read((client, number, call.request.key), call.consistent)
            elif self.disk_full:
                self._refuse(client, number)
            else:
                self._propose(client, call)
        except RaftError as error:
            self._refuse(client, number, getattr(error, "leader", ""))

    def _propose(self, client: str, call: Call) -> None:
        data = self.machine.encode(call.request, self.clock.now_us() // MS)
        (index,) = self.current.propose([data])
        self._proposals[index, self.current.term] = (client, call.request.number)

    def _read(self, read: tuple[str, int, str], consistent: bool) -> None:
        if not consistent:
            index = self.current.lease_read(self.current.now)
            if index is not None:
                self._answer_when_applied(index, read)
                return
        self._token += 1
        self.current.read(self._token)
        self._reads[self._token] = read

    def _answer_when_applied(self, index: int, read: tuple[str, int, str]) -> None:
        if index > self.applied:
            self._confirmed.append((index, read))
        else:
            client, number, key = read
            self._reply(client, Answer(number, True, self.machine.read(key)))

    def _refuse(self, client: str, number: int, leader: str = "") -> None:
        self._reply(client, Answer(number, False, leader=leader))

    def _reply(self, client: str, answer: Answer) -> None:
        self._cluster.network.send(self.name, client, answer)

    # Operators

    def change(self, change: Change) -> bool:
        """Whether the membership change was proposed."""
        try:
            self.current.propose_config(change)
        except RaftError:
            return False
        self._pump()
        return True

    def transfer(self, to: str) -> None:
        if self.node is None or self.paused:
            return
        try:
            self.current.transfer(to)
        except RaftError:
            return
        self._pump()

    def fill_disk(self) -> None:
        """There is no room to write: it stops leading and refuses writes (traps 20)."""
        self.disk_full = True
        if self.node is not None:
            self.node.step_down()
            self._pump()

    # The plan, in the written order

    def _pump(self) -> None:
        while len(self._readies) < self._cluster.options.pipelined_readies:
            ready = self.current.ready()
            if ready is None:
                break
            self._readies.append(ready)
            self._take(ready)
        if self.current.commit_untold and not self._telling:
            self._telling = True
            self._after(self._draw.randrange(TELL_US_MAX), self._tell_commit)
        if self._readies and not self._writing:
            self._writing = True
            self._run(self._write(list(self._readies)))

    def _tell_commit(self) -> None:
        self._telling = False
        self.current.tell_commit()
        self._pump()

    def _take(self, ready: Ready) -> None:
        """What needs no disk."""
        self._send(ready.messages_first)
        if ready.soft is not None:
            self._note("soft", f"{ready.soft.role.name} term {ready.soft.term} leader {ready.soft.leader}")
            if ready.soft.role is Role.LEADER:
                self._cluster.invariants.leads(self.name, ready.soft.term)
                self._cluster.won_in_storm(self, ready.soft.term)
            else:
                self._forget_proposals(ready.soft.leader)
        for token in ready.reads_lost:
            if read := self._reads.pop(token, None):
                self._refuse(read[0], read[1], self.current.leader)

    def _forget_proposals(self, leader: str) -> None:
        """Their outcome is unknown to a server that does not lead; the clients ask again."""
        for client, number in self._proposals.values():
            self._refuse(client, number, leader)
        self._proposals.clear()

    def _write(self, batch: list[Ready]) -> Iterator[int]:
        """Writes a batch of plans with one sync, then carries out the rest of each."""
        must_sync = False
        for ready in batch:
            if ready.chunks:
                yield from self._write_chunks(ready)
            if ready.install is not None:
                yield from self._install(ready.install)
            while self.disk_full and ready.entries:
                yield 50 * MS
            self._check_entries(ready.entries)
            if ready.entries or ready.hard_state is not None:
                self.log.write(ready.hard_state, ready.entries)
                yield WRITE_US
            must_sync = must_sync or ready.must_sync
        if must_sync:
            yield self._sync_us()
            if not self._sync():
                return
        for ready in batch:
            self._finish(ready)
        self._writing = False
        self._after(0, self._pump)  # not at once: a long log to apply would nest too deep

    def _sync_us(self) -> int:
        return 1 + int(self._draw.expovariate(1.0) * self.sync_us_mean)

    def _sync(self) -> bool:
        if self.fail_next_sync:
            self._note("failed sync", "")
            self._cluster.crash_for_a_while(self)
            return False
        self.log.sync()
        return True

    def _finish(self, ready: Ready) -> None:
        """What may happen once the plan is durable."""
        self._check_election(ready.entries)
        self._send(ready.messages)
        if ready.install is not None:
            self._restore(ready.install)
        self._apply(ready.committed)
        for read in ready.reads:
            if waiting := self._reads.pop(read.token, None):
                self._answer_when_applied(read.index, waiting)
        self._answer_confirmed()
        self._readies.remove(ready)
        self.current.advance(ready)
        self._snapshot_when_due()

    def _send(self, messages: tuple[Any, ...]) -> None:
        for message in messages:
            if self._cluster.trace is not None:
                self._note("send", message)
            if type(message) is Append and self._cluster.starves(message):
                continue
            self._cluster.network.send(self.name, message.to, message)
            if type(message) is VoteReply and message.granted:
                self._cluster.granted_in_storm(self)
            elif type(message) is Vote:
                self._cluster.vote_in_storm(self.name, message.to, message)

    # Applying

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if entry.index != self.applied + 1:
                raise Violation(
                    "state-machine safety", f"{self.name} is to apply {entry.index} after {self.applied}"
                )
            self._cluster.invariants.commits(self.name, entry, self.current.term)
            self._known_commit = entry.index
            if entry.kind is EntryKind.NORMAL:
                self._apply_command(entry)
            self.applied = entry.index
            self._note("apply", f"{entry.index}/{entry.term} {entry.kind.name}")

    def _apply_command(self, entry: Entry) -> None:
        answer = self.machine.apply(entry.index, entry.data)
        self._cluster.invariants.applies(self.name, entry.index, answer)
        waiting = self._proposals.pop((entry.index, entry.term), None)
        if waiting is not None:
            client, number = waiting
            self._cluster.invariants.acknowledges(entry.index, entry.term, entry.data)
            self._reply(client, Answer(number, True, answer))

    def _answer_confirmed(self) -> None:
        if self._confirmed:
            waiting, self._confirmed = self._confirmed, []
            for index, read in waiting:
                self._answer_when_applied(index, read)

    def _check_entries(self, entries: tuple[Entry, ...]) -> None:
        if not entries:
            return
        invariants = self._cluster.invariants
        before = self.log.term(entries[0].index - 1)
        for entry in entries:
            held = self.log.term(entry.index)
            if held is not None and held != entry.term:
                invariants.truncates(self.name, entry.index, self._known_commit)
            if before is not None:
                invariants.holds(self.name, entry, before)
            before = entry.term

    def _check_election(self, entries: tuple[Entry, ...]) -> None:
        """A leader's log is complete and on its disk with the first entry of its term."""
        for entry in entries:
            if self._cluster.invariants.leaders.get(entry.term) == self.name:
                self._cluster.invariants.complete(self.name, entry.term, self._term_at)

    def _term_at(self, index: int) -> int | None:
        """None for what its snapshot covers, 0 for what it does not have."""
        if index < self.log.first_index():
            return self.log.term(index)
        return self.log.term(index) or 0

    def term_and_data(self, index: int) -> tuple[int, bytes] | None:
        """An entry of its log; None if it was trimmed."""
        entry = self.log.entry(index)
        return (entry.term, entry.data) if entry else None

    # Snapshots

    def _write_chunks(self, ready: Ready) -> Iterator[int]:
        for chunk in ready.chunks:
            if chunk.offset == 0:
                self.log.begin_snapshot(INCOMING)
            if self.log.part_bytes(INCOMING) != chunk.offset:
                raise Violation("snapshot", f"{self.name} was handed a chunk out of order")
            self.log.append_part(INCOMING, chunk.chunk)
            yield WRITE_US

    def _install(self, meta: SnapshotMeta) -> Iterator[int]:
        yield from self._make_durable(INCOMING, meta)
        self.log.reset(meta)
        self._note("install", meta.index)

    def _restore(self, meta: SnapshotMeta) -> None:
        data = self.log.snapshot_data()
        assert data is not None
        self.machine = self._cluster.options.machine()
        self.machine.restore(data)
        self.applied = meta.index
        self._known_commit = max(self._known_commit, meta.index)
        self._cluster.invariants.state(self.name, meta.index, self.machine.snapshot())

    def _snapshot_when_due(self) -> None:
        due = self.applied - self.log.snapshot().index >= self._cluster.options.snapshot_entries
        if due and not self._snapshotting and self.node is not None:
            term = self.log.term(self.applied)
            assert term is not None
            meta = SnapshotMeta(self.applied, term, self.node.config_at(self.applied))
            self._snapshotting = True
            self._run(self._make_snapshot(meta, self.machine.snapshot()))

    def _make_snapshot(self, meta: SnapshotMeta, data: bytes) -> Iterator[int]:
        """Tmp file, sync, rename, sync of the directory; only then is the log trimmed (rule 8)."""
        self._cluster.invariants.state(self.name, meta.index, data)
        self.log.begin_snapshot(OUTGOING)
        half = len(data) // 2
        for part in (data[:half], data[half:]):
            self.log.append_part(OUTGOING, part)
            yield self._snapshot_step_us()
        if meta.index > self.log.snapshot().index:
            yield from self._make_durable(OUTGOING, meta)
            if meta.index > self.log.snapshot().index:
                self.log.adopt(meta)
            yield from self._trim()
        self._snapshotting = False

    def _make_durable(self, name: str, meta: SnapshotMeta) -> Iterator[int]:
        yield self._snapshot_step_us()
        self.log.finish_parts(name, meta)
        yield self._snapshot_step_us()
        self.log.name_snapshot(name, meta)
        yield self._snapshot_step_us()
        self.log.sync_names()

    def _trim(self) -> Iterator[int]:
        self.log.drop_snapshots(self.current.snapshots_in_use())
        first = self.log.snapshot().index + 1 - self._cluster.options.kept_entries
        for _ in self.log.trim(max(1, first)):
            yield self._snapshot_step_us()

    def _snapshot_step_us(self) -> int:
        if self.crash_in_snapshot_steps:
            self.crash_in_snapshot_steps -= 1
            if not self.crash_in_snapshot_steps:
                self._note("crash in snapshot", "")
                self._after(0, self._cluster.crash_for_a_while, self)
        return STEP_OF_SNAPSHOT_US

    def _run(self, steps: Iterator[int]) -> None:
        """Goes to the next step of work on the disk after the time that this one takes."""
        life = self._life
        delay_us = next(steps, None)
        if delay_us is not None and life == self._life:  # a step may crash the server
            self._after(delay_us, self._run, steps)

    def _note(self, what: str, detail: object) -> None:
        self._cluster.note(self.name, what, detail)
