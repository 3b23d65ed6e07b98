"""Sans-IO. One spelling for each path, before it is authorised; the application gets the same (trap 14).

RFC 3986 section 6.2.2: escapes of unreserved characters are undone, others get capital digits, dot segments
are followed. What two readers could understand in two ways is refused where rules depend on the path: escaped
dots and slashes, "//", "\\", escapes that are none, octets that should have been escaped.
"""

import re

from ..admission import EscapedSlashes, PathPolicy

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES = frozenset(b"/\\")
_NUL = 0
# Of these a path must have one to be changed or refused.
_MARKS = re.compile(rb"%|//|/\.|\\|[\x80-\xff]").search
# A segment that says "." or "..", with at least one dot escaped.
_ESCAPED_DOTS = re.compile(rb"/(?:\.?%2[Ee]|%2[Ee]\.)(?:%2[Ee])?(?=/|$)").search
# "..;" is ".." to servers that know parameters of segments.
_DOTS_WITH_PARAMETER = re.compile(rb"/\.{1,2}(?:;|%3B)").search


class AmbiguousPath(ValueError):
    """Expected. The path can be read in two ways; the message says why and does not repeat it."""


def normalised(target: bytes, policy: PathPolicy, strict: bool) -> bytes:
    """The `:path` of a request (with its query, which stays as it is) in its one spelling.

    `strict`: rules depend on it. Raises AmbiguousPath.
    """
    if policy.disabled or not _MARKS(target):
        return target
    path, question, query = target.partition(b"?")
    if not _MARKS(path):
        return target
    if strict:
        _refuse_ambiguous(path, policy)
    path = _unescaped(path, policy, strict)
    if strict and _DOTS_WITH_PARAMETER(path):
        raise AmbiguousPath("a dot segment has a parameter")
    if policy.merge_slashes:
        path = re.sub(rb"/{2,}", b"/", path)
    return _without_dots(path) + question + query


def _refuse_ambiguous(path: bytes, policy: PathPolicy) -> None:
    if _ESCAPED_DOTS(path):
        raise AmbiguousPath("a dot segment is escaped")
    if not path.isascii():  # a rule names it by its escapes (section 2.1), servers may decode both
        raise AmbiguousPath("the path has an octet that is not ASCII and not escaped")
    if b"\\" in path:
        raise AmbiguousPath("the path has a backslash")
    if b"//" in path and not policy.merge_slashes:
        raise AmbiguousPath("the path has an empty segment")


def _unescaped(path: bytes, policy: PathPolicy, strict: bool) -> bytes:
    slashes = policy.escaped_slashes
    reject = slashes is EscapedSlashes.REJECT or (strict and slashes is EscapedSlashes.UNSAID)

    def one(escape: re.Match[bytes]) -> bytes:
        digits = escape[1]
        if digits is None:
            if strict:
                raise AmbiguousPath("a percent sign begins no escape")
            return escape[0]
        octet = int(digits, 16)
        if octet in _SLASHES:
            if reject:
                raise AmbiguousPath("a slash is escaped")
            if slashes is EscapedSlashes.UNESCAPE:
                return b"/"
        elif octet == _NUL and strict:
            raise AmbiguousPath("the path has an escaped NUL")
        return bytes((octet,)) if octet in _UNRESERVED else escape[0].upper()

    return _ESCAPE.sub(one, path)


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, for a path that begins with "/"."""
    if b"/." not in path:
        return path
    segments = path.split(b"/")[1:]
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
