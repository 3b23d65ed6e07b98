"""Sans-IO. What the leader says about one agent: a table of where it stands.

heard    in the catalog                    verdict
yes      passing, and was never silent     none
yes      otherwise, or not there           ALIVE
no       not for long                      none
no       not critical yet                  SILENT
no       critical, for very long           GONE
no       not there, and no certificate     GONE
"""

from dataclasses import dataclass
from enum import Enum, auto

from .limits import Patience


class Verdict(Enum):
    """What is to be written."""

    ALIVE = auto()
    SILENT = auto()
    GONE = auto()


class Listed(Enum):
    """What the catalog says of the node."""

    ABSENT = auto()
    PASSING = auto()
    CRITICAL = auto()
    UNSAID = auto()  # there, without a word about its life


@dataclass(frozen=True, slots=True)
class Standing:
    """`unheard_s` is 0 while a server hears it; `silent_s` since the log says so, None where it does not."""

    unheard_s: float
    silent_s: float | None
    listed: Listed
    certified: bool  # it has a certificate that is in force

    @property
    def is_heard(self) -> bool:
        return self.unheard_s == 0


def verdict(standing: Standing, patience: Patience) -> Verdict | None:
    """None where nothing is to be written."""
    if standing.is_heard:
        settled = standing.silent_s is None and standing.listed is Listed.PASSING
        return None if settled else Verdict.ALIVE
    if standing.unheard_s < patience.lost_after_s:
        return None
    if standing.silent_s is None:
        return Verdict.SILENT
    return _of_silent(standing, standing.silent_s, patience)


def _of_silent(standing: Standing, silent_s: float, patience: Patience) -> Verdict | None:
    if standing.listed is Listed.ABSENT:
        return None if standing.certified else Verdict.GONE
    if standing.listed is not Listed.CRITICAL:
        return Verdict.SILENT  # something else has registered the node meanwhile
    return Verdict.GONE if silent_s >= patience.gone_after_s else None
