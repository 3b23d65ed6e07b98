"""Rows compared and changed as wholes.

`dataclasses.replace` asks each field in Python what it is: for a row of twenty fields ten times what is
needed when the fields are known ahead.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from .enrolment_model import JoinToken, Member
from .experiment_row import Experiment
from .model import (
    Authority,
    AutopilotConfig,
    CaRoot,
    Check,
    ConfigEntry,
    CredentialRecord,
    Indexes,
    Intention,
    IntentionDefaults,
    KeyValue,
    Node,
    PreparedQuery,
    Service,
    Session,
)

# Kinds of rows; `indexes` is the last field of each.
_KINDS = (
    *(Node, Service, Check, Intention, IntentionDefaults, ConfigEntry, CredentialRecord, CaRoot),
    *(Authority, AutopilotConfig, KeyValue, PreparedQuery, Session, JoinToken, Member, Experiment),
)
_NAMES = {kind: tuple(kind.__dataclass_fields__)[:-1] for kind in _KINDS}
_VALUES = {kind: attrgetter(*names) for kind, names in _NAMES.items()}

R = TypeVar(
    "R",
    Node,
    Service,
    Check,
    Intention,
    IntentionDefaults,
    ConfigEntry,
    CredentialRecord,
    CaRoot,
    Authority,
    AutopilotConfig,
    KeyValue,
    PreparedQuery,
    Session,
    JoinToken,
    Member,
    Experiment,
)


def says_same(row: R, other: R | None) -> bool:
    """Whether two rows of a kind are equal but for their indexes."""
    values = _VALUES[type(row)]
    return other is not None and bool(values(row) == values(other))


def with_indexes(row: R, indexes: Indexes) -> R:
    kind: Callable[..., R] = type(row)
    return kind(*_VALUES[type(row)](row), indexes)


def with_values(row: R, **changes: Any) -> R:
    """As `dataclasses.replace`."""
    kind: Callable[..., R] = type(row)
    values = dict(zip(_NAMES[type(row)], _VALUES[type(row)](row), strict=True))
    return kind(**(values | changes), indexes=row.indexes)
