"""What goes by itself. Nothing does: a proposed command removes what has expired at its time."""

from itertools import islice

from weft.pb.catalog.v1 import command_pb2 as pb

from . import limits
from .draft import Draft
from .state import State

MORE = "more"


def due(state: State, now_ms: int) -> bool:
    """Whether an Expire command at this time would remove anything: if not, none need be proposed."""
    oldest = (
        next((key[0] for key, _ in state.leaves_by_expiry.items()), now_ms + 1),
        next((key[0] for key, _ in state.revocations.items()), now_ms + 1),
        next((key[0] for key, _ in state.acl.tokens_by_expiry.items()), now_ms + 1),
        next((key[0] for key, _ in state.join_tokens_by_end.items()), now_ms + 1),
        next((key[0] for key, _ in state.lock_delays_by_end.items()), now_ms + 1),
        *(row.ended_ms + limits.EXPERIMENT_KEPT_MS for row in state.experiments.values() if not row.runs),
        next((key[0] + limits.TOMBSTONE_KEPT_MS for key, _ in state.tombstones.items()), now_ms + 1),
    )
    return min(oldest) <= now_ms


def expire(draft: Draft, command: pb.Expire) -> str:
    """Drops what has expired, and old tombstones. "more" when a batch was cut."""
    drops = (_leaves, _revocations, _tokens, _join_tokens, _lock_delays, _tombstones)
    _experiments(draft)
    return MORE if max([drop(draft) for drop in drops]) == limits.EXPIRED_PER_COMMAND_MAX else ""


def _leaves(draft: Draft) -> int:
    first = islice(draft.state.leaves_by_expiry.values(), limits.EXPIRED_PER_COMMAND_MAX)
    gone = [leaf for leaf in first if leaf.not_after_ms <= draft.now_ms]
    for leaf in gone:
        draft.drop_leaf(leaf)
    return len(gone)


def _revocations(draft: Draft) -> int:
    first = islice(draft.state.revocations.items(), limits.EXPIRED_PER_COMMAND_MAX)
    gone = [key for key, row in first if row.not_after_ms <= draft.now_ms]
    if gone:
        draft.drop_revocations(gone)
    return len(gone)


def _tokens(draft: Draft) -> int:
    tables = draft.state.acl
    first = islice(tables.tokens_by_expiry.values(), limits.EXPIRED_PER_COMMAND_MAX)
    gone = [token for token in first if token.expires_ms <= draft.now_ms]
    for token in gone:
        tables = tables.without_token(token.accessor_id)
    if gone:
        draft.set_acl(tables)
    return len(gone)


def _join_tokens(draft: Draft) -> int:
    first = islice(draft.state.join_tokens_by_end.values(), limits.EXPIRED_PER_COMMAND_MAX)
    gone = [row for row in first if row.expires_ms <= draft.now_ms]
    for row in gone:
        draft.drop_join_token(row)
    return len(gone)


def _lock_delays(draft: Draft) -> int:
    first = islice(draft.state.lock_delays_by_end.values(), limits.EXPIRED_PER_COMMAND_MAX)
    gone = [row for row in first if row.until_ms <= draft.now_ms]
    for row in gone:
        draft.drop_lock_delay(row)
    return len(gone)


def _experiments(draft: Draft) -> None:
    """All of them: there are few."""
    for row in tuple(draft.state.experiments.values()):
        if not row.runs and row.ended_ms + limits.EXPERIMENT_KEPT_MS <= draft.now_ms:
            draft.drop_experiment(row)


def _tombstones(draft: Draft) -> int:
    first = islice(draft.state.tombstones.items(), limits.EXPIRED_PER_COMMAND_MAX)
    gone = [key for key, _ in first if key[0] + limits.TOMBSTONE_KEPT_MS <= draft.now_ms]
    draft.drop_tombstones(gone)
    return len(gone)
