"""The next state while one command is being applied.

A draft keeps the tables' indexes in step with each other and collects the watch keys that moved. It is
thrown away when the command turns out to be refused: nothing is applied by halves.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..acl.tables import AclTables
from . import watches
from .address_draft import ROUTED, AddressDraft
from .model import (
    CRITICAL,
    SERVICE_INTENTIONS,
    Authority,
    AutopilotConfig,
    CaRoot,
    Check,
    Cluster,
    ConfigEntry,
    CredentialRecord,
    Indexes,
    Intention,
    IntentionDefaults,
    LeafRecord,
    Node,
    RestorePart,
    Revocation,
    Service,
    service_leaf_key,
)
from .rows import says_same, with_indexes, with_values
from .state import State
from .tree import Key


@dataclass(slots=True)
class Draft(AddressDraft):
    """All tables."""

    def drop_revocations(self, keys: list[Key]) -> None:
        """Removes rows of `State.revocations` by key."""
        table = self.state.revocations
        for key in keys:
            table = table.without(key)
        self._change(revocations=table)
        self.touched.add(watches.REVOCATIONS)

    def set_cluster(self, row: Cluster) -> None:
        self._change(cluster=row)

    # Nodes and services

    def put_node(self, row: Node) -> None:
        """A row that says the same as before moves no index."""
        old = self.state.nodes.get((row.name,))
        if says_same(row, old):
            return
        row = with_indexes(row, self._indexes(old))
        self._change(nodes=self.state.nodes.put((row.name,), row))
        self.touched.add(watches.NODES)
        self._touch_node(row.name)
        for service in self.state.services.prefix((row.name,)):
            self.touched.add(watches.instance(service.instance_key))  # its address may be the node's

    def drop_node(self, name: str) -> None:
        for row in tuple(self.state.services.prefix((name,))):
            self.drop_service(row)
        for check in tuple(self.state.checks.prefix((name,))):
            self.drop_check(check)
        for session in tuple(self.state.sessions_by_node.prefix((name,))):
            self.end_session(session)
        self.removes = True
        self._change(
            nodes=self.state.nodes.without((name,)), coordinates=self.state.coordinates.without((name,))
        )
        self.touched |= {watches.NODES, watches.node(name)}

    def put_service(self, row: Service) -> None:
        old = self.state.services.get((row.node, row.id))
        if says_same(row, old):
            return
        if old and (old.name, old.connects_to) != (row.name, row.connects_to):
            self._unlist(old)
        row = with_indexes(row, self._indexes(old))
        named, connected = self.state.services_by_name, self.state.services_by_connect
        if row.connects_to:
            connected = connected.put((row.connects_to, row.node, row.id), row)
        self._change(
            services=self.state.services.put((row.node, row.id), row),
            services_by_name=named.put((row.name, row.node, row.id), row),
            services_by_connect=connected,
        )
        self._touch_service(row)
        if not old or (old.name, old.tags) != (row.name, row.tags):
            self.touched.add(watches.SERVICES)
            self._retag_checks(row)
        for name in dict.fromkeys((old.connects_to if old else "", row.connects_to)):
            self.settle_address(name)

    def _unlist(self, old: Service) -> None:
        self.removes = True
        self._touch_service(old)
        self._change(
            services_by_name=self.state.services_by_name.without((old.name, old.node, old.id)),
            services_by_connect=self.state.services_by_connect.without((old.connects_to, old.node, old.id)),
        )

    def _retag_checks(self, row: Service) -> None:
        for check in tuple(self.state.checks_by_service.prefix((row.node, row.id))):
            self.put_check(check, row)

    def drop_service(self, row: Service) -> None:
        """Removes an instance, its checks, and its right to be in the mesh."""
        for check in tuple(self.state.checks_by_service.prefix((row.node, row.id))):
            self.drop_check(check)
        self._unlist(row)
        self._change(services=self.state.services.without((row.node, row.id)))
        self.settle_address(row.connects_to)
        self.touched.add(watches.SERVICES)
        self.drop_credential(row.instance_key)
        if next(self.state.services_by_name.prefix((row.name,)), None) is None:
            self._revoke_leaves(service_leaf_key(row.name))  # nobody is left who could be this service

    def touch_endpoints(self, service: str) -> None:
        """What is told of the mesh endpoints of a service has changed."""
        for row in self.state.services_by_connect.prefix((service,)):
            self._touch_service(row)

    def _touch_service(self, row: Service) -> None:
        self.touched |= {watches.node(row.node), watches.instance(row.instance_key)}
        self._touch_health(row)

    def _touch_health(self, row: Service) -> None:
        self.touched.add(watches.service(row.name))
        if row.connects_to:
            self.touched.add(watches.connect(row.connects_to))

    def _touch_node(self, name: str) -> None:
        """A node's row and its own checks are part of the health of all that runs on it."""
        self.touched.add(watches.node(name))
        for row in self.state.services.prefix((name,)):
            self._touch_health(row)

    # Checks

    def service_of(self, row: Check) -> Service | None:
        """The instance that the check names, if it names one and it exists."""
        return self.state.services.get((row.node, row.service_id)) if row.service_id else None

    def put_check(self, row: Check, service: Service | None) -> None:
        """Fills in name and tags of the service, which is `service_of(row)`."""
        name, tags = (service.name, service.tags) if service else ("", ())
        if (row.service_name, row.service_tags) != (name, tags):
            row = with_values(row, service_name=name, service_tags=tags)
        old = self.state.checks.get((row.node, row.id))
        if says_same(row, old):
            return
        if old and old.service_id != row.service_id:
            self._unlist_check(old)
        row = with_indexes(row, self._indexes(old))
        self._change(
            checks=self.state.checks.put((row.node, row.id), row),
            checks_by_service=self.state.checks_by_service.put((row.node, row.service_id, row.id), row),
        )
        self._touch_check(row, service)
        if row.status == CRITICAL:
            self.end_dependants(row)

    def drop_check(self, row: Check) -> None:
        self._unlist_check(row)
        self.end_dependants(row)

    def _unlist_check(self, row: Check) -> None:
        self.removes = True
        self._change(
            checks=self.state.checks.without((row.node, row.id)),
            checks_by_service=self.state.checks_by_service.without((row.node, row.service_id, row.id)),
        )
        self._touch_check(row, self.service_of(row))

    def _touch_check(self, row: Check, service: Service | None) -> None:
        self.touched |= {watches.CHECKS, watches.node(row.node)}
        if not row.service_id:
            self._touch_node(row.node)
        elif service:
            self._touch_health(service)

    # Intentions

    def put_intention(self, row: Intention) -> Intention:
        """Keeps id and creation time of the intention that it replaces."""
        old = self.state.intentions.get((row.destination, row.source))
        row = with_values(
            row,
            id=old.id if old else row.id,
            created_ms=old.created_ms if old else self.now_ms,
            updated_ms=self.now_ms,
        )
        row = with_indexes(row, self._indexes(old))
        self._change(
            intentions=self.state.intentions.put((row.destination, row.source), row),
            intentions_by_source=self.state.intentions_by_source.put((row.source, row.destination), row),
        )
        self._touch_intention(row)
        return row

    def drop_intention(self, row: Intention) -> None:
        """The last one of a destination takes along what holds for all of them."""
        self.removes = True
        self._change(
            intentions=self.state.intentions.without((row.destination, row.source)),
            intentions_by_source=self.state.intentions_by_source.without((row.source, row.destination)),
        )
        self._touch_intention(row)
        if next(self.state.intentions.prefix((row.destination,)), None) is None:
            self.put_intention_defaults(IntentionDefaults(row.destination))

    def _touch_intention(self, row: Intention) -> None:
        self.touched.add(watches.intention_source(row.source))
        self._touch_destination(row.destination)

    def _touch_destination(self, destination: str) -> None:
        self.touched |= {
            watches.INTENTIONS,
            watches.intention_destination(destination),
            watches.config_kind(SERVICE_INTENTIONS),
            watches.config_entry(SERVICE_INTENTIONS, destination),
        }

    def put_intention_defaults(self, row: IntentionDefaults) -> None:
        """One that says nothing is none."""
        key, table = (row.destination,), self.state.intention_defaults
        old = table.get(key)
        if says_same(row, old) or (old is None and not row.jwt_json and not row.meta):
            return
        if row.jwt_json or row.meta:
            table = table.put(key, with_indexes(row, self._indexes(old)))
        else:
            table = table.without(key)
        self._change(intention_defaults=table)
        self._touch_destination(row.destination)

    # Config entries

    def put_config_entry(self, row: ConfigEntry) -> None:
        """An entry that says the same as before moves no index."""
        key = (row.kind, row.name)
        old = self.state.config_entries.get(key)
        if says_same(row, old):
            return
        row = with_indexes(row, self._indexes(old))
        self._change(config_entries=self.state.config_entries.put(key, row))
        self._touch_config_entry(row)

    def drop_config_entry(self, row: ConfigEntry) -> None:
        self.removes = True
        self._change(config_entries=self.state.config_entries.without((row.kind, row.name)))
        self._touch_config_entry(row)

    def _touch_config_entry(self, row: ConfigEntry) -> None:
        self.touched |= {watches.config_kind(row.kind), watches.config_entry(row.kind, row.name)}
        if row.kind in ROUTED:
            self.settle_address(row.name)

    # Identity

    def put_credential(self, key: str, digest: bytes) -> None:
        self.drop_credential(key)
        row = CredentialRecord(key, digest, self.now_ms, self.created)
        self._change(credentials=self.state.credentials.put((key,), row))
        self.touched.add(watches.credential(key))

    def drop_credential(self, key: str) -> None:
        """Ends a credential; what it signed for and has not expired is revoked."""
        if (key,) in self.state.credentials:
            self.removes = True
            self._change(credentials=self.state.credentials.without((key,)))
            self.touched.add(watches.credential(key))
        self._revoke_leaves(key)

    def _revoke_leaves(self, key: str) -> None:
        for leaf in self.state.leaves_of(key):
            self.drop_leaf(leaf)
            if leaf.not_after_ms > self.now_ms:
                self._revoke(leaf)

    def put_leaf(self, row: LeafRecord) -> None:
        self._change(
            leaves=self.state.leaves.put((row.instance_key, row.serial), row),
            leaves_by_expiry=self.state.leaves_by_expiry.put(_expiry(row), row),
        )

    def drop_leaf(self, row: LeafRecord) -> None:
        self._change(
            leaves=self.state.leaves.without((row.instance_key, row.serial)),
            leaves_by_expiry=self.state.leaves_by_expiry.without(_expiry(row)),
        )

    def _revoke(self, leaf: LeafRecord) -> None:
        trust_domain = self.state.cluster.trust_domain if self.state.cluster else ""
        row = Revocation(leaf.serial, trust_domain, leaf.not_after_ms)
        key = (row.not_after_ms, row.trust_domain, row.serial)
        self._change(revocations=self.state.revocations.put(key, row))
        self.touched.add(watches.REVOCATIONS)

    def put_roots(self, rows: list[CaRoot]) -> None:
        """Replaces all roots."""
        table = type(self.state.roots).load(
            ((row.id,), self._indexed(row)) for row in sorted(rows, key=lambda row: row.id)
        )
        self._change(roots=table, roots_epoch=self.state.roots_epoch + 1)
        self.touched.add(watches.ROOTS)

    def _indexed(self, row: CaRoot) -> CaRoot:
        """A root that says the same as before keeps its indexes."""
        old = self.state.roots.get((row.id,))
        return old if old and says_same(row, old) else with_indexes(row, self._indexes(old))

    def put_own_roots(self, trust_domain: str, rows: Iterable[CaRoot]) -> None:
        """Replaces the roots of one trust domain."""
        others = [row for row in self.state.roots.values() if row.trust_domain != trust_domain]
        self.put_roots([*others, *rows])

    def put_authority(self, row: Authority) -> None:
        self._change(authority=with_indexes(row, self._indexes(self.state.authority)))
        self.touched.add(watches.AUTHORITY)

    def put_autopilot(self, row: AutopilotConfig) -> None:
        known = self.state.autopilot.indexes.create
        self._change(autopilot=with_indexes(row, Indexes(known or self.index, self.index)))
        self.touched.add(watches.AUTOPILOT)

    def set_acl(self, tables: AclTables) -> None:
        """Takes tokens, policies and what belongs to them as a whole."""
        self._change(acl=tables)
        self.touched.add(watches.ACL)

    def put_parts(self, rows: Iterable[RestorePart]) -> None:
        """Replaces what was collected for a restore."""
        self._change(restoring=type(self.state.restoring).load(((row.part,), row) for row in rows))

    def replace_state(self, state: State) -> None:
        """Another state takes the place of this one; every reader has to look again."""
        self.state = state
        self.touched = {watches.EVERYTHING}


def _expiry(row: LeafRecord) -> tuple[int, str, int]:
    return row.not_after_ms, row.instance_key, row.serial
