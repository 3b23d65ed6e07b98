"""Sans-IO. From the bytes of a query to the bytes of its answer, or to what recursors have to be asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dns.rcode import REFUSED, SERVFAIL

from ..acl.caller import Caller
from ..catalog.state import State
from ..identity.errors import TokenUnknown
from .answer import Asking, Catalog, Choices, Question, Reply
from .message import Query, Transport, read, write


@dataclass(frozen=True, slots=True)
class Forward:
    """A question for recursors, asked on behalf of `query`. `begun` is what we answer ourselves."""

    query: Query
    question: Question
    begun: Reply

    def finished(self, found: Reply | None) -> bytes:
        """The answer, once recursors have given theirs; None: none did."""
        if self.begun.alias:  # the alias is an answer even where nobody knows its address
            answer = self.begun.answer + (found.answer if found else [])
            return write(self.query, replace(self.begun, answer=answer), recursion=True)
        return write(self.query, found or Reply(SERVFAIL, is_ours=False), recursion=True)


@dataclass(frozen=True, slots=True)
class Denial:
    """The answer to a question that comes with a token that nobody has."""

    question: Question
    reason: str
    answer: bytes


class Desk:
    """Takes queries. `view` gives the newest state, `caller` who asks, and raises TokenUnknown; `owner` whose
    rights a prepared query has, by the accessor id of its token; `wall` is seconds since the Unix epoch,
    `draw` random numbers from 0 to 1."""

    def __init__(
        self,
        choices: Choices,
        view: Callable[[], State],
        caller: Callable[[State], Caller],
        owner: Callable[[State, str], Caller | None],
        wall: Callable[[], float],
        draw: Callable[[], float],
        *,
        recursion: bool,
    ) -> None:
        self._catalog = Catalog(choices)
        self._view = view
        self._caller = caller
        self._owner = owner
        self._wall = wall
        self._draw = draw
        self._recursion = recursion

    def take(
        self, wire: bytes, transport: Transport, caller: Caller | None = None
    ) -> bytes | Forward | Denial | None:
        """The answer; or what to ask first; or None, which gets no answer. `caller` is who asks, where the
        question came with a token of its own."""
        query = read(wire, transport)
        if not isinstance(query, Query):
            return query
        try:
            reply = self._reply(query, caller)
        except TokenUnknown as error:
            answer = write(query, Reply(REFUSED, is_ours=False), recursion=self._recursion)
            return Denial(query.question, str(error), answer)
        if self._recursion and query.wants_recursion and (question := _foreign(query, reply)):
            return Forward(query, question, reply)
        return write(query, reply, recursion=self._recursion)

    def _reply(self, query: Query, caller: Caller | None) -> Reply:
        """Raises TokenUnknown."""
        state = self._view()
        return self._catalog.answer(
            Asking(
                state,
                caller or self._caller(state),
                query.question,
                self._wall(),
                self._draw,
                query.answers_max,
                partial(self._owner, state),
            )
        )


def _foreign(query: Query, reply: Reply) -> Question | None:
    """What only others can answer; None where nothing is left to ask."""
    if reply.alias:
        return Question(reply.alias, query.question.kind)
    return None if reply.is_ours else query.question
