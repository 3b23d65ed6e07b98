"""The part of a draft that clients fill as they like: keys, sessions, prepared queries, events."""

from dataclasses import dataclass

from . import watches
from .base_draft import BaseDraft
from .experiment_row import Experiment
from .model import (
    DELETE,
    Check,
    Coordinate,
    Event,
    KeyValue,
    LockDelay,
    PreparedQuery,
    Session,
)
from .rows import says_same, with_indexes, with_values


@dataclass(slots=True)
class KeysDraft(BaseDraft):
    """Keys, and what holds locks on them."""

    # Keys and values

    def put_kv(self, row: KeyValue) -> KeyValue:
        """The row as it then is. One that says the same as before moves no index."""
        old = self.state.kv.get((row.key,))
        if old and says_same(row, old):
            return old
        row = with_indexes(row, self._indexes(old))
        self._unlock(old)
        self._change(kv=self.state.kv.put((row.key,), row))
        if row.session:
            self._change(kv_locked=self.state.kv_locked.put((row.session, row.key), row))
        self._touch_kv(row.key)
        return row

    def _unlock(self, old: KeyValue | None) -> None:
        if old and old.session:
            self._change(kv_locked=self.state.kv_locked.without((old.session, old.key)))

    def drop_kv(self, row: KeyValue) -> None:
        self.removes = True
        self._unlock(row)
        self._change(kv=self.state.kv.without((row.key,)))
        self._touch_kv(row.key)

    def _touch_kv(self, key: str) -> None:
        self.touched.add(watches.kv(key))
        self.touched.update(watches.kv_directories(key))

    # Sessions

    def put_session(self, row: Session) -> None:
        row = with_indexes(row, self.created)
        self._change(
            sessions=self.state.sessions.put((row.id,), row),
            sessions_by_node=self.state.sessions_by_node.put((row.node, row.id), row),
        )
        self._touch_session(row)

    def end_session(self, row: Session) -> None:
        """Its locks go free, or their keys go, by its behavior."""
        self.removes = True
        self._change(
            sessions=self.state.sessions.without((row.id,)),
            sessions_by_node=self.state.sessions_by_node.without((row.node, row.id)),
        )
        self._touch_session(row)
        for query in tuple(self.state.queries_by_session.prefix((row.id,))):
            self.drop_query(query)
        for locked in tuple(self.state.kv_locked.prefix((row.id,))):
            if row.behavior == DELETE:
                self.drop_kv(locked)
            else:
                self.put_kv(with_values(locked, session=""))
            if row.lock_delay_ms:
                self._put_lock_delay(LockDelay(locked.key, self.now_ms + row.lock_delay_ms))

    def end_dependants(self, check: Check) -> None:
        """Sessions do not outlive the health of what they depend on."""
        for session in tuple(self.state.sessions_by_node.prefix((check.node,))):
            if session.depends_on(check.id):
                self.end_session(session)

    def _touch_session(self, row: Session) -> None:
        self.touched |= {watches.SESSIONS, watches.session(row.id)}

    def _put_lock_delay(self, row: LockDelay) -> None:
        if old := self.state.lock_delays.get((row.key,)):
            self.drop_lock_delay(old)
        self._change(
            lock_delays=self.state.lock_delays.put((row.key,), row),
            lock_delays_by_end=self.state.lock_delays_by_end.put((row.until_ms, row.key), row),
        )

    def drop_lock_delay(self, row: LockDelay) -> None:
        self._change(
            lock_delays=self.state.lock_delays.without((row.key,)),
            lock_delays_by_end=self.state.lock_delays_by_end.without((row.until_ms, row.key)),
        )

    # Prepared queries

    def put_query(self, row: PreparedQuery) -> None:
        old = self.state.queries.get((row.id,))
        if says_same(row, old):
            return
        row = with_indexes(row, self._indexes(old))
        if old:
            self.drop_query(old)
        named, bound = self.state.queries_by_name, self.state.queries_by_session
        self._change(
            queries=self.state.queries.put((row.id,), row),
            queries_by_name=named.put((row.template, row.name), row) if row.is_named else named,
            queries_by_session=bound.put((row.session, row.id), row) if row.session else bound,
        )
        self.touched.add(watches.QUERIES)

    def drop_query(self, row: PreparedQuery) -> None:
        named = self.state.queries_by_name
        self._change(
            queries=self.state.queries.without((row.id,)),
            queries_by_name=named.without((row.template, row.name)) if row.is_named else named,
            queries_by_session=self.state.queries_by_session.without((row.session, row.id)),
        )
        self.touched.add(watches.QUERIES)

    # Experiments

    def put_experiment(self, row: Experiment) -> None:
        """A new one under a name that has ended gets a new create index."""
        old = self.state.experiments.get((row.name,))
        row = with_indexes(row, self._indexes(old if old and old.runs else None))
        self._change(experiments=self.state.experiments.put((row.name,), row))
        self._touch_experiment(row)

    def drop_experiment(self, row: Experiment) -> None:
        self.removes = True
        self._change(experiments=self.state.experiments.without((row.name,)))
        self._touch_experiment(row)

    def _touch_experiment(self, row: Experiment) -> None:
        self.touched |= {watches.EXPERIMENTS, watches.experiments_on(row.service)}

    # Events

    def put_event(self, row: Event) -> None:
        self._change(events=self.state.events.put((row.ltime,), row))
        self.touched.add(watches.EVENTS)

    def drop_event(self, row: Event) -> None:
        self._change(events=self.state.events.without((row.ltime,)))

    def put_coordinate(self, row: Coordinate) -> None:
        if self.state.coordinates.get((row.node,)) != row:
            self._change(coordinates=self.state.coordinates.put((row.node,), row))
            self.touched.add(watches.COORDINATES)
