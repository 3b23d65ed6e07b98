"""The part of a draft that is about agents: tokens to join by, and members."""

from dataclasses import dataclass

from . import watches
from .enrolment_model import JoinToken, Member
from .keys_draft import KeysDraft
from .rows import says_same, with_indexes


@dataclass(slots=True)
class EnrolmentDraft(KeysDraft):
    """Join tokens and members."""

    def put_join_token(self, row: JoinToken) -> None:
        old = self.state.join_tokens.get((row.id,))
        row = with_indexes(row, self._indexes(old))
        self._change(
            join_tokens=self.state.join_tokens.put((row.id,), row),
            join_tokens_by_end=self.state.join_tokens_by_end.put((row.expires_ms, row.id), row),
        )
        self.touched.add(watches.JOIN_TOKENS)

    def drop_join_token(self, row: JoinToken) -> None:
        self._change(
            join_tokens=self.state.join_tokens.without((row.id,)),
            join_tokens_by_end=self.state.join_tokens_by_end.without((row.expires_ms, row.id)),
        )
        self.touched.add(watches.JOIN_TOKENS)

    def put_member(self, row: Member) -> None:
        old = self.state.members.get((row.node,))
        if says_same(row, old):
            return
        self._change(members=self.state.members.put((row.node,), with_indexes(row, self._indexes(old))))
        self.touched.add(watches.MEMBERS)

    def drop_member(self, row: Member) -> None:
        self._change(members=self.state.members.without((row.node,)))
        self.touched.add(watches.MEMBERS)
