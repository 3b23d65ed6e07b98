"""Splits: shares by weight, and a user who stays on a side."""

import random
from collections import Counter
from math import sqrt

import pytest

from sidecar.h2.block import NO_EXTRA, Block, Extra, Head, Kind, Literal
from sidecar.h2.primitives import encode_raw
from sidecar.policy.hashing import NOT_HASHED, hash64, hash_of, header_names, share_of
from sidecar.policy.split import Shares
from sidecar.traffic import HashInput, HashKind

DRAWS = 100_000
WEIGHTS = [(9_900, 100), (5_000, 5_000), (1, 9_999), (3_333, 3_333, 3_334), (0, 10_000)]


def block(
    *fields: tuple[bytes, bytes], path: bytes = b"/", beside: tuple[tuple[bytes, bytes], ...] = ()
) -> Block:
    head = Head(Kind.REQUEST, fields)
    head.path = path
    literals = [Literal(name, encode_raw(value), False) for name, value in beside]
    return Block(head, Extra.of(literals) if literals else NO_EXTRA)


@pytest.mark.parametrize(
    "weights", [(9_900, 100), (5_000, 5_000), (1, 9_999), (3_333, 3_333, 3_334), (0, 10_000)]
)
@pytest.mark.parametrize("how", ["drawn", "hashed"])
def test_splits_are_within_three_sigma_over_100_000_requests(weights: tuple[int, ...], how: str) -> None:
    shares, chance = Shares(weights), random.Random(7)
    if how == "drawn":
        points = [chance.random() for _ in range(DRAWS)]
    else:
        points = [share_of(hash64(b"user-%d" % number, b"split")) for number in range(DRAWS)]
    count = Counter(shares.at(point) for point in points)
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(count[index] - DRAWS * share) <= 3 * sqrt(DRAWS * share * (1 - share)), count


def test_a_step_of_a_canary_moves_users_one_way_only() -> None:
    users = [share_of(hash64(b"user-%d" % number)) for number in range(2000)]
    before = [Shares((10_000 - 500, 500)).at(point) for point in users]
    after = [Shares((10_000 - 2500, 2500)).at(point) for point in users]
    assert all(later >= earlier for earlier, later in zip(before, after, strict=True))


HEADER = HashInput(HashKind.HEADER, "x-user")
COOKIE = HashInput(HashKind.COOKIE, "side")
QUERY = HashInput(HashKind.QUERY, "q")
SOURCE = HashInput(HashKind.SOURCE)


def test_a_hash_reads_a_header_wherever_it_stands() -> None:
    in_head = hash_of((HEADER,), block((b"x-user", b"7")), "")
    beside = hash_of((HEADER,), block(beside=((b"x-user", b"7"),)), "")
    assert in_head == beside and in_head.key == hash64(b"7")
    assert hash_of((HEADER,), block(), "") == NOT_HASHED


def test_a_hash_reads_cookies_queries_and_the_source() -> None:
    assert hash_of((COOKIE,), block((b"cookie", b"a=1; side=x")), "").key == hash64(b"x")
    assert hash_of((COOKIE,), block((b"cookie", b"a=1"), (b"cookie", b'side="x"')), "").key == hash64(b"x")
    assert hash_of((QUERY,), block(path=b"/p?a=1&q=x%20y"), "").key == hash64(b"x y")
    assert hash_of((SOURCE,), block(), "127.0.0.1").key == hash64(b"127.0.0.1")


def test_a_terminal_input_ends_the_search() -> None:
    first = HashInput(HashKind.HEADER, "x-user", terminal=True)
    found = block((b"x-user", b"7"), path=b"/?q=1")
    assert hash_of((first, QUERY), found, "").key == hash64(b"7")
    assert hash_of((HEADER, QUERY), found, "").key == hash64(b"7\x001")
    assert hash_of((first, QUERY), block(path=b"/?q=1"), "").key == hash64(b"1")


def test_a_cookie_that_is_to_be_made_is_asked_for() -> None:
    made = HashInput(HashKind.COOKIE, "side", cookie_generate=True)
    assert hash_of((made,), block(), "") == (None, made)
    assert hash_of((made,), block((b"cookie", b"side=x")), "").cookie is None


def test_the_salt_keeps_a_split_and_the_choice_behind_it_apart() -> None:
    assert hash64(b"7", b"split") != hash64(b"7")


def test_names_that_a_hash_reads() -> None:
    assert header_names([(HEADER, COOKIE), (QUERY, SOURCE)]) == {b"x-user", b"cookie"}
