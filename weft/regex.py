"""Regular expressions that users write: RE2, whose time is linear in the text, with bounds on the rest."""

from functools import lru_cache

import re2

from .errors import UsageError

PATTERN_CHARS_MAX = 1024  # the longest that a person reads
PROGRAM_BYTES_MAX = 1024 * 1024  # of one compiled pattern, its caches included (RE2's default is 8 MiB)
_REMEMBERED = 1024  # compiled patterns: a few KiB each


class InvalidPattern(UsageError):
    """Expected. Not a regular expression of RE2, or too large a one."""


class Pattern:
    """One compiled expression. The text may be anything; patterns see it as UTF-8."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        options = re2.Options()
        options.max_mem = PROGRAM_BYTES_MAX
        options.log_errors = False
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            reason = error.args[0]
            said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            raise InvalidPattern(f"{text[:100]!r} is not a regular expression of RE2: {said[:200]}") from None

    def is_in(self, text: str) -> bool:
        """Whether a part of the text matches."""
        return self._compiled.search(text) is not None

    def groups_in(self, text: str) -> tuple[str, ...]:
        """The first part that matches, then its groups ("" for those that took no part); () for none."""
        found = self._compiled.search(text)
        return (found[0], *(group or "" for group in found.groups())) if found else ()

    def is_all(self, text: str) -> bool:
        """Whether the whole text matches."""
        return self._compiled.fullmatch(text) is not None


@lru_cache(_REMEMBERED)
def compile_pattern(text: str) -> Pattern:
    """Raises InvalidPattern."""
    if len(text) > PATTERN_CHARS_MAX:
        raise InvalidPattern(f"a regular expression may have {PATTERN_CHARS_MAX} characters, not {len(text)}")
    return Pattern(text)
