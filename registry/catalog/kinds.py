"""Which tables a snapshot has, in the order in which it has them, and what their rows are made of."""

from operator import attrgetter
from typing import NamedTuple

from ..acl.model import AuthMethod, BindingRule, Policy, Role, Token
from .address_row import VirtualAddress
from .columns import SERIAL, Kind
from .enrolment_model import JoinToken, Member
from .experiment_row import Experiment
from .model import (
    NO_INDEXES,
    Authority,
    AutopilotConfig,
    CaRoot,
    Check,
    Coordinate,
    CredentialRecord,
    Event,
    Indexes,
    Intention,
    IntentionDefaults,
    KeyValue,
    LeafRecord,
    LockDelay,
    Node,
    PreparedQuery,
    RestorePart,
    Revocation,
    Service,
    Session,
)
from .state import Answered


class Moving(NamedTuple):
    """A watch key, and when what it covers last changed. `gone`: it covers nothing any more."""

    kind: str
    name: str | None  # None in keys of whole tables
    modify: int
    time_ms: int
    gone: bool = False


class StoredEntry(NamedTuple):
    """A config entry as its JSON; what it says is read from that."""

    kind: str
    name: str
    body: bytes
    indexes: Indexes = NO_INDEXES


class Outcome(NamedTuple):
    """The answer of an applied command, kept so that a retry gets it again."""

    request_id: bytes
    time_ms: int
    log_index: int
    code: int = 0
    message: str = ""
    value: str = ""


class AclHead(NamedTuple):
    """What there is of the access control list besides its rows."""

    bootstrap_index: int


def _outcome(item: tuple[bytes, Answered]) -> Outcome:
    request_id, it = item
    return Outcome(request_id, it.time_ms, it.index, it.code, it.message, it.value)


def _kv_bytes(row: KeyValue) -> int:
    return len(row.value)


_ALL = (
    Kind("node", Node),
    Kind("service", Service),
    Kind("check", Check, unshared=("id", "output")),
    Kind("intention", Intention),
    Kind("intention_defaults", IntentionDefaults),
    Kind("config_entry", StoredEntry, take=attrgetter(*StoredEntry._fields)),
    Kind("kv", KeyValue, unshared=("key",), weigh=_kv_bytes),
    Kind("session", Session, unshared=("id",)),
    Kind("lock_delay", LockDelay, unshared=("key",)),
    Kind("event", Event, unshared=("id",)),
    Kind("coordinate", Coordinate, unshared=("node", "vec")),
    Kind("query", PreparedQuery, unshared=("id",)),
    Kind("join_token", JoinToken, unshared=("id", "secret_code", "key_digest")),
    Kind("member", Member, unshared=("node", "accessor_id")),
    Kind("experiment", Experiment, unshared=("name", "fault")),
    Kind("virtual_address", VirtualAddress, unshared=("service",)),
    Kind("credential", CredentialRecord),
    Kind("leaf", LeafRecord, converted={"serial": SERIAL}),
    Kind("revocation", Revocation, converted={"serial": SERIAL}),
    Kind("root", CaRoot),
    Kind("authority", Authority),
    Kind("autopilot", AutopilotConfig),
    Kind("restore_part", RestorePart, rows_max=1),
    Kind("acl_head", AclHead, take=tuple),
    Kind("acl_token", Token, unshared=("accessor_id", "secret")),
    Kind("acl_policy", Policy, unshared=("id", "rules")),
    Kind("acl_role", Role, unshared=("id",)),
    Kind("acl_auth_method", AuthMethod),
    Kind("acl_binding_rule", BindingRule, unshared=("id",)),
    Kind("watch_index", Moving, take=tuple),
    Kind("answered", Outcome, take=_outcome),
)
KINDS = {kind.table: kind for kind in _ALL}
