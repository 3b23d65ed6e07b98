"""Trap 28: what the log knows of a token's secret, and what it takes to read it."""

import pytest

from ca.errors import KeyUnusable
from ca.sealing import OperatorKey
from registry.acl.secrets import SecretBox

OLD, NEW = OperatorKey(b"o" * 32), OperatorKey(b"n" * 32)
NONCE = b"\1" * 12
SECRET, ACCESSOR = "5f1d3c3a-secret", "a" * 36


def test_trap_28_a_secret_is_found_by_a_keyed_code_and_returned_by_its_seal() -> None:
    box = SecretBox((NEW,), "cluster")
    sealed = box.seal(SECRET, ACCESSOR, NONCE)
    assert sealed.code in box.codes(SECRET)
    assert sealed.code not in box.codes(SECRET + "x")
    assert box.open(sealed, ACCESSOR) == SECRET
    assert SECRET.encode() not in sealed.code + sealed.ciphertext
    assert SECRET not in repr(sealed)


def test_neither_code_nor_seal_serves_in_another_cluster_or_for_another_token() -> None:
    sealed = SecretBox((NEW,), "cluster").seal(SECRET, ACCESSOR, NONCE)
    other = SecretBox((NEW,), "elsewhere")
    assert sealed.code not in other.codes(SECRET)
    with pytest.raises(KeyUnusable, match="damaged or of another cluster"):
        other.open(sealed, ACCESSOR)
    with pytest.raises(KeyUnusable, match="damaged or of another cluster"):
        SecretBox((NEW,), "cluster").open(sealed, "b" * 36)


def test_the_operator_key_can_be_changed_in_steps() -> None:
    sealed = SecretBox((OLD,), "cluster").seal(SECRET, ACCESSOR, NONCE)
    both = SecretBox((NEW, OLD), "cluster")
    assert sealed.code in both.codes(SECRET)
    assert both.open(sealed, ACCESSOR) == SECRET
    alone = SecretBox((NEW,), "cluster")
    assert sealed.code not in alone.codes(SECRET)
    with pytest.raises(KeyUnusable, match="which is not given; give that key too"):
        alone.open(sealed, ACCESSOR)


def test_without_a_key_there_is_no_box() -> None:
    with pytest.raises(KeyUnusable, match="none is given"):
        SecretBox((), "cluster")
