"""What may be answered from memory, to whom, and how much of it there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from registry.api.errors import BadRequest
from registry.api.query import Query
from registry.client_agent.cache import ENTRY_BYTES_MAX, Cache, Kept, Key, is_discovery, key_of
from registry.client_agent.cached_reads import FRESH_S, STALE_MAX_S, Wish, wish_of

HEALTH = "/v1/health/service/web"


def kept(body: bytes = b"x", at: float = 0.0) -> Kept:
    return Kept({}, body, at)


def key(target: str = HEALTH, secret: str = "s", fingerprint: str = "f", encoding: str = "") -> Key:
    return key_of(target, secret, fingerprint, encoding)


def test_trap_26_each_input_of_an_answer_makes_another_key() -> None:
    others = [
        key(target="/v1/health/service/api"),
        key(target=f"{HEALTH}?passing"),
        key(target=f"{HEALTH}?tag=a"),
        key(target=f"{HEALTH}?tag=a&tag=b"),
        key(target=f"{HEALTH}?tag=b&tag=a"),
        key(target=f"{HEALTH}?filter=Service.Port%3D%3D80"),
        key(target=f"{HEALTH}?near=n1"),
        key(target=f"{HEALTH}?dc=dc2"),
        key(target=f"{HEALTH}?pretty"),
        key(secret="another"),
        key(fingerprint="rules that have changed"),
        key(encoding="gzip"),
    ]
    assert len({key(), *others}) == len(others) + 1


def test_how_to_wait_is_no_input() -> None:
    asked = f"{HEALTH}?cached&stale&index=7&wait=3s&max_stale=1s"
    assert key(target=asked) == key()


TEXTS = st.text(
    st.characters(exclude_characters="#&=?+%\0", codec="ascii", exclude_categories=["C"]), max_size=4
)


@given(one=st.lists(st.tuples(TEXTS, TEXTS), max_size=3), other=st.lists(st.tuples(TEXTS, TEXTS), max_size=3))
def test_different_queries_never_share_a_key(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    def target(pairs: list[tuple[str, str]]) -> str:
        return HEALTH + "?" + "&".join(f"x{name}={value}" for name, value in pairs)

    assert (key(target(one)) == key(target(other))) == (one == other)


def test_a_key_is_shown_without_its_secret() -> None:
    assert "hush" not in repr(key(secret="hush"))


def test_the_least_recently_asked_for_goes_first() -> None:
    cache = Cache(entries_max=2)
    for name in "ab":
        cache.put(key(name), kept())
    assert cache.get(key("a"))
    cache.put(key("c"), kept())
    assert cache.get(key("b")) is None
    assert cache.get(key("a"))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60_000)), max_size=40))
def test_memory_is_bounded_and_counted(puts: list[tuple[str, int]]) -> None:
    cache = Cache(bytes_max=100_000)
    for name, size in puts:
        cache.put(key(name), kept(b"x" * size))
        assert cache.size_bytes <= 100_000
    for name in "abcdef":
        cache.drop(key(name))
    assert (cache.size_bytes, len(cache)) == (0, 0)


def test_what_is_too_large_is_not_kept() -> None:
    cache = Cache()
    cache.put(key(), kept(b"small"))
    cache.put(key(), kept(b"x" * (ENTRY_BYTES_MAX + 1)))
    assert cache.get(key()) is None, "the older answer would be wrong by now"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/kv/health",
        "/v1/acl/tokens",
        "/v1/session/list",
        "/v1/agent/connect/ca/leaf/web",
        "/v1/event/list",
    ],
)
def test_secrets_and_locks_are_never_kept(path: str) -> None:
    assert not is_discovery(path)
    assert wish_of("GET", path, Query(MultiDict(cached="")), {}) is None


def wish(query: dict[str, str], control: str = "", method: str = "GET") -> Wish | None:
    headers = CIMultiDict({"Cache-Control": control}) if control else CIMultiDict[str]()
    return wish_of(method, HEALTH, Query(MultiDict(query)), headers)


def test_only_a_read_that_may_be_old_is_answered_from_memory() -> None:
    assert wish({}) is None
    assert wish({"consistent": ""}) is None
    assert wish({"stale": ""}, method="PUT") is None
    assert wish({"cached": "", "near": "_ip"}) is None, "who asks from where is no part of the key"
    with pytest.raises(BadRequest):
        wish({"cached": "", "consistent": ""})
    with pytest.raises(BadRequest):
        wish({"cached": ""}, "max-age=x")


def test_how_old_is_the_clients_to_say() -> None:
    assert wish({"cached": ""}) == Wish(True, FRESH_S, STALE_MAX_S, 0)
    assert wish({"cached": ""}, "max-age=30, stale-if-error=60") == Wish(True, 30, 60, 0)
    assert wish({"cached": ""}, "must-revalidate") == Wish(True, 0, STALE_MAX_S, 0)
    assert wish({"stale": ""}) == Wish(False, FRESH_S, STALE_MAX_S, 0)
    assert wish({"max_stale": "10s"}) == Wish(False, FRESH_S, 10, 0)
    assert wish({"cached": "", "index": "5", "wait": "9s"}) == Wish(True, FRESH_S, STALE_MAX_S, 9)
