"""The management token, and where a request carries it."""

import uuid

import pytest

from registry.identity.management import ManagementToken, token_of
from weft.errors import ConfigError

SECRET = "0e8a1e0b-7a4f-4c3b-9d6e-1f2a3b4c5d6e"


def test_only_the_token_itself_passes() -> None:
    token = ManagementToken(SECRET)
    assert token.is_it(SECRET)
    for wrong in ("", SECRET[:-1], SECRET + "0", SECRET.upper()):
        assert not token.is_it(wrong)


def test_every_server_gives_it_the_same_accessor_which_is_not_the_secret() -> None:
    accessor = ManagementToken(SECRET).accessor_id
    assert accessor == ManagementToken(SECRET).accessor_id
    assert uuid.UUID(accessor).version == 4
    assert accessor != ManagementToken(SECRET + "0").accessor_id
    assert accessor != SECRET


@pytest.mark.parametrize("weak", ["", "short", "a" * 257, "has a space in it, and is long", "ümlaut" * 4])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(weak: str) -> None:
    with pytest.raises(ConfigError, match="management token"):
        ManagementToken(weak)


def test_a_request_carries_it_in_three_places_of_which_the_first_counts() -> None:
    headers = {"X-Consul-Token": "second", "Authorization": "bearer third more"}
    assert token_of("first", headers) == "first"
    assert token_of("", headers) == "second"
    assert token_of("", {"Authorization": "bearer third more"}) == "third"
    assert token_of("", {"Authorization": "Basic third"}) == ""
    assert token_of("", {}) == ""
