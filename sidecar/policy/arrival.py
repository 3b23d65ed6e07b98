"""Sans-IO. Whether a request that arrives is let through, by the rules for its caller, and as what.

The switch asks this for each new head, and so does whoever wants a request explained: there is one answer.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from ..admission import Admission, PathPolicy, Underscored
from ..h2.block import Head
from .authorize import Verdict
from .gate import Judgement, reads_path
from .match import Matcher
from .paths import AmbiguousPath
from .reading import has_underscore, read_once

T = TypeVar("T")


class Refused(Enum):
    """What a request is refused for."""

    DENIED = "denied"  # 403
    UNPROVEN = "unproven"  # 401: another token might do
    AMBIGUOUS = "ambiguous"  # 400: it can be read in two ways


class Arrived(NamedTuple):
    """`head` is what rules read and what goes on. `judgement` stands for a while, where there is one."""

    head: Head
    refused: Refused | None = None
    reason: str = ""  # names the rule
    judgement: Judgement | None = None


def arrive(
    verdict: Verdict, head: Head, source: str, wall: float, paths: PathPolicy, strict: bool
) -> Arrived:
    """`verdict` is on the caller, `source` the service that it is proven to be, `wall` Unix seconds.
    `strict`: something besides the caller's rules depends on how paths are spelled."""
    try:
        read = read_in_one_way(verdict, head, paths, strict)
    except AmbiguousPath as error:
        if not verdict.allowed:
            return Arrived(head, Refused.DENIED, verdict.reason)
        return Arrived(head, Refused.AMBIGUOUS, str(error))
    if not verdict.allowed:
        return Arrived(read, Refused.DENIED, verdict.reason)
    if verdict.gate is None:
        return Arrived(read, None, verdict.reason)
    judgement = verdict.gate.judge(read, source, wall)
    return Arrived(read, refused_by(judgement), judgement.reason, judgement)


def refused_by(judgement: Judgement) -> Refused | None:
    if judgement.allowed:
        return None
    return Refused.UNPROVEN if judgement.unproven else Refused.DENIED


def read_in_one_way(verdict: Verdict, head: Head, paths: PathPolicy, strict: bool) -> Head:
    """The request in its one spelling. Raises AmbiguousPath."""
    if paths.underscored is Underscored.REJECT and has_underscore(head.fields):
        raise AmbiguousPath("a header has '_' in its name")
    strict = strict or (verdict.gate is not None and verdict.gate.strict)
    return read_once(head, paths, strict=strict)


def is_strict(admission: Admission) -> bool:
    """Whether limits or faults depend on how paths are spelled."""
    matches = [it.match for it in admission.limits] + [it.match for it in admission.faults]
    return any(map(reads_path, matches))


def those_for(rules: Iterable[tuple[T, Matcher]], head: Head, source: str) -> Sequence[T]:
    """Those of the limits or faults that are about the request."""
    return [it for it, matcher in rules if matcher.matches(head, source)]
