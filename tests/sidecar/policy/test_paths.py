"""One spelling for each path, against the algorithms of RFC 3986 taken word by word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.admission import EscapedSlashes, PathPolicy
from sidecar.policy.paths import AmbiguousPath, normalised

DEFAULT = PathPolicy()
MERGED = PathPolicy(merge_slashes=True)
UNESCAPED = PathPolicy(escaped_slashes=EscapedSlashes.UNESCAPE)
KEPT = PathPolicy(escaped_slashes=EscapedSlashes.KEEP)


@pytest.mark.parametrize(
    ("target", "policy", "one"),
    [
        (b"/a/b", DEFAULT, b"/a/b"),
        (b"/a/../admin", DEFAULT, b"/admin"),
        (b"/a/./b/.", DEFAULT, b"/a/b/"),
        (b"/..", DEFAULT, b"/"),
        (b"/../../x", DEFAULT, b"/x"),
        (b"/a/b/..", DEFAULT, b"/a/"),
        (b"/%61dmin", DEFAULT, b"/admin"),
        (b"/file%2etxt", DEFAULT, b"/file.txt"),
        (b"/caf%c3%a9", DEFAULT, b"/caf%C3%A9"),
        (b"/a%20b", DEFAULT, b"/a%20b"),
        (b"/a//b", MERGED, b"/a/b"),
        (b"/a//../b", MERGED, b"/b"),
        (b"/a%2fb", UNESCAPED, b"/a/b"),
        (b"/a%5c..%2fb", UNESCAPED, b"/b"),
        (b"/a%2fb", KEPT, b"/a%2Fb"),
        (b"/a?x=/../%2e//", DEFAULT, b"/a?x=/../%2e//"),
        (b"/.hidden/..x/...", DEFAULT, b"/.hidden/..x/..."),
        (b"*", DEFAULT, b"*"),
        (b"/a/../%2F//", PathPolicy(disabled=True), b"/a/../%2F//"),
    ],
)
def test_a_path_has_one_spelling(target: bytes, policy: PathPolicy, one: bytes) -> None:
    assert normalised(target, policy, strict=True) == one


@pytest.mark.parametrize(
    ("target", "policy"),
    [
        (b"/a/%2e%2e/admin", DEFAULT),
        (b"/a/.%2E/admin", DEFAULT),
        (b"/a/%2e", DEFAULT),
        (b"/a/..;x=1/admin", DEFAULT),
        (b"/a/%2e.;/admin", DEFAULT),
        (b"/a/..%3b/admin", DEFAULT),
        (b"//admin", DEFAULT),
        ("/café".encode(), DEFAULT),
        (b"/a%2Fadmin", DEFAULT),
        (b"/a%5cadmin", DEFAULT),
        (b"/a\\admin", DEFAULT),
        (b"/a\\admin", UNESCAPED),
        (b"/a%00", DEFAULT),
        (b"/a%", DEFAULT),
        (b"/a%2", DEFAULT),
        (b"/a%zz", DEFAULT),
        (b"/a%%32e", DEFAULT),
    ],
)
def test_trap_14_what_reads_in_two_ways_is_refused(target: bytes, policy: PathPolicy) -> None:
    with pytest.raises(AmbiguousPath) as refused:
        normalised(target, policy, strict=True)
    assert target.decode("latin-1") not in str(refused.value)


def test_where_no_rule_reads_paths_only_what_was_said_is_refused() -> None:
    for target in (b"//admin", b"/a%2Fb", b"/a%", b"/a\\b", b"/a%00"):
        assert normalised(target, DEFAULT, strict=False) == target
    with pytest.raises(AmbiguousPath):
        normalised(b"/a%2Fb", PathPolicy(escaped_slashes=EscapedSlashes.REJECT), strict=False)


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, as it is written there."""
    out = b""
    while path:
        if path.startswith(b"../"):
            path = path[3:]
        elif path.startswith((b"./", b"/./")):
            path = path[2:]
        elif path == b"/.":
            path = b"/"
        elif path.startswith(b"/../"):
            path, out = path[3:], out[: max(out.rfind(b"/"), 0)]
        elif path == b"/..":
            path, out = b"/", out[: max(out.rfind(b"/"), 0)]
        elif path in (b".", b".."):
            path = b""
        else:
            end = path.find(b"/", 1)
            end = len(path) if end < 0 else end
            out, path = out + path[:end], path[end:]
    return out


_PIECES = [
    b"/",
    b"/",
    b".",
    b"..",
    b"a",
    b"admin",
    b"%2e",
    b"%2E",
    b"%2f",
    b"%5C",
    b"%41",
    b"%20",
    b"\\",
    b"%",
    b";",
]
paths = st.lists(st.sampled_from(_PIECES), max_size=12).map(lambda pieces: b"/" + b"".join(pieces))
policies = st.builds(PathPolicy, merge_slashes=st.booleans(), escaped_slashes=st.sampled_from(EscapedSlashes))


@given(st.lists(st.sampled_from([b"/", b"/", b".", b"..", b"a", b"%2f", b";"]), max_size=12))
def test_dot_segments_are_followed_as_the_rfc_says(pieces: list[bytes]) -> None:
    path = b"/" + b"".join(pieces)
    assert normalised(path, KEPT, strict=False) == _without_dots(path).replace(b"%2f", b"%2F")


@given(paths, policies)
def test_what_is_let_through_has_no_second_reading(path: bytes, policy: PathPolicy) -> None:
    """Reading it again changes nothing, and no server that unescapes it finds another path behind it."""
    try:
        one = normalised(path, policy, strict=True)
    except AmbiguousPath:
        return
    assert normalised(one, policy, strict=True) == one
    segments = one.split(b"/")
    assert not {b".", b"..", b"%2E", b"%2E%2E"} & set(segments)
    assert b"\\" not in one and b"//" not in one
    if policy.escaped_slashes is not EscapedSlashes.KEEP:
        assert b"%2F" not in one and b"%5C" not in one
