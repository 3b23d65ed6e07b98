"""Sans-IO. What the rule for a caller asks of each request: permissions and tokens.

A judgement is a pure function of the head, the caller and the time. The time matters only where tokens were
looked at, and a judgement says from when until when it stands; so it may be remembered with the head, as long
as that holds every field that was read (`reads`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..admission import Permission, Requirement
from ..h2.block import Head
from ..traffic import HttpMatch
from .match import Matcher, reads_of
from .tokens import Proof, Verifier

Verifiers = Mapping[str, Verifier]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one request, from `since` until `until` (Unix seconds). `unproven`: another token might do."""

    allowed: bool
    reason: str
    unproven: bool = False
    proofs: tuple[Proof, ...] = ()  # tokens that are valid and were asked for
    since: float = -math.inf
    until: float = math.inf

    def stands(self, now: float) -> bool:
        return self.since <= now < self.until

    @property
    def lasts(self) -> bool:
        """Whether time changes nothing about it."""
        return self.since == -math.inf and self.until == math.inf


@dataclass(slots=True)
class Hearing:
    """One request before the gate: each token is looked at once, and what that says of time is kept."""

    head: Head
    now: float
    verifiers: Verifiers
    proofs: dict[str, Proof] = field(default_factory=dict)

    def trouble(self, requirement: Requirement) -> str:
        """Why it is not satisfied; "" where it is."""
        troubles = []
        for asked in requirement:
            proof = self.proofs.get(asked.provider)
            if proof is None:
                proof = self.proofs[asked.provider] = self.verifiers[asked.provider].prove(self.head)
            trouble = proof.trouble(self.now)
            if not trouble and not all(map(proof.has, asked.claims)):
                trouble = f"the token of {asked.provider} lacks a claim"
            if not trouble:
                return ""
            troubles.append(trouble)
        return troubles[0] if troubles else ""

    def judge(self, allowed: bool, reason: str, *, unproven: bool = False) -> Judgement:
        moments = [it for proof in self.proofs.values() for it in (proof.since, proof.until)]
        return Judgement(
            allowed,
            reason,
            unproven,
            tuple(it for it in self.proofs.values() if not it.trouble(self.now)),
            max((it for it in moments if it <= self.now), default=-math.inf),
            min((it for it in moments if it > self.now), default=math.inf),
        )


class Gate:
    """`allow` is for requests where there are no permissions."""

    __slots__ = ("_allow", "_asked", "_name", "_permissions", "_verifiers", "passable", "reads", "strict")

    def __init__(
        self,
        name: str,
        allow: bool,
        permissions: Sequence[Permission],
        requirements: Sequence[Requirement],
        verifiers: Verifiers,
    ) -> None:
        """`name` is of the rule, for reasons. All `requirements` hold for every request."""
        self._name = name
        self._allow = allow
        self._permissions = [(it, Matcher(it.match)) for it in permissions]
        self._asked = tuple(it for it in requirements if it)
        self._verifiers = verifiers
        self.passable = any(it.allow for it in permissions) if permissions else allow
        self.strict = any(reads_path(it.match) for it in permissions)  # it matters how a path is spelled
        every = [*self._asked, *(it.jwt for it in permissions)]
        self.reads = reads_of(matcher for _, matcher in self._permissions).union(
            *(verifiers[it.provider].reads for requirement in every for it in requirement)
        )

    def judge(self, head: Head, source: str, now: float) -> Judgement:
        """`source` is the calling service, proven. `head` has its path in one spelling."""
        hearing = Hearing(head, now, self._verifiers)
        for requirement in self._asked:
            if trouble := hearing.trouble(requirement):
                return hearing.judge(False, f"{self._name}: {trouble}", unproven=True)
        if not self._permissions:
            return hearing.judge(self._allow, f"{self._name} {_word(self._allow)}")
        lacking = ""
        for at, (permission, matcher) in enumerate(self._permissions):
            if not matcher.matches(head, source):
                continue
            if trouble := hearing.trouble(permission.jwt):
                lacking = lacking or (trouble if permission.allow else "")
                continue
            return hearing.judge(
                permission.allow, f"permission {at} of {self._name} {_word(permission.allow)}"
            )
        if lacking:
            return hearing.judge(False, f"{self._name}: {lacking}", unproven=True)
        return hearing.judge(False, f"no permission of {self._name} matches")


def reads_path(match: HttpMatch | None) -> bool:
    """Whether it depends on how a path is spelled."""
    return match is not None and (
        match.path_kind is not None or match.grpc_service is not None or match.grpc_method is not None
    )


def _word(allow: bool) -> str:
    return "allows" if allow else "denies"
