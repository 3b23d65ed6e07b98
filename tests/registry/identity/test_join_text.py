"""The text of a join token: what it holds, and that nothing else passes for one."""

import contextlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca.bundle import der_to_pem
from ca.server_identity import new_server_root
from registry.identity.join_text import JoinText, pin, pins_of
from weft.errors import ConfigError

TEXT = JoinText("0123456789abcdef", "s" * 43, (b"p" * 32, b"q" * 32))


def test_a_text_reads_back() -> None:
    assert JoinText.parse(f" {TEXT}\n") == TEXT


def test_trap_28_neither_the_value_nor_a_refusal_shows_the_secret() -> None:
    assert TEXT.secret not in repr(TEXT)
    with pytest.raises(ConfigError) as refusal:
        JoinText.parse(f"{TEXT}.x")
    assert TEXT.secret not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "weft-join",
        str(TEXT).rpartition(".")[0][:-1],
        str(TEXT).replace("weft-join", "weft"),
        str(TEXT).replace("0123456789abcdef", "0123456789ABCDEF"),
        "weft-join.0123456789abcdef." + "s" * 43,  # without a pin it would be said to anybody
        str(TEXT) + ("." + "p" * 43) * 3,
        str(TEXT) + "\n" + str(TEXT),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="copy the whole line"):
        JoinText.parse(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(ConfigError):
        JoinText.parse(text)


def test_a_pin_is_of_the_key_and_roots_have_one_each() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    roots = [new_server_root("dc1", key, number, now) for number, key in enumerate(keys, 1)]
    again = new_server_root("dc1", keys[0], 9, now)
    assert pin(roots[0]) == pin(again) != pin(roots[1])
    pem = "".join(der_to_pem(root.public_bytes(Encoding.DER)) for root in roots)
    assert pins_of(pem) == (pin(roots[0]), pin(roots[1]))
