"""The CA's key at rest: what opens it, and what does not."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.errors import KeyUnusable
from ca.sealing import Keyring, OperatorKey, SealedKey

OLD, NEW = OperatorKey(bytes(range(32))), OperatorKey(bytes(32))
KEY = ec.generate_private_key(ec.SECP256R1())
NONCE = b"n" * 12


def sealed() -> SealedKey:
    return Keyring([OLD]).seal(KEY, "cluster", "aa:bb", NONCE)


def test_what_was_sealed_opens() -> None:
    assert Keyring([OLD]).open(sealed(), "cluster").private_numbers() == KEY.private_numbers()


def test_trap_25_another_operator_key_is_named_and_refused() -> None:
    with pytest.raises(KeyUnusable, match=f"sealed by {OLD.fingerprint}, given is {NEW.fingerprint}"):
        Keyring([NEW]).open(sealed(), "cluster")


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": "aa:bc"},
        {"nonce": b"m" * 12},
        {"ciphertext": sealed().ciphertext[:-1] + b"\0"},
        {"ciphertext": b""},
    ],
)
def test_trap_25_the_seal_binds_the_key_id(changes: dict[str, object]) -> None:
    with pytest.raises(KeyUnusable, match="damaged or of another cluster"):
        Keyring([OLD]).open(dataclasses.replace(sealed(), **changes), "cluster")  # type: ignore[arg-type]


def test_trap_25_the_seal_binds_the_cluster() -> None:
    with pytest.raises(KeyUnusable, match="of another cluster"):
        Keyring([OLD]).open(sealed(), "other")


def test_trap_25_a_new_operator_key_seals_anew_and_the_old_one_still_opens() -> None:
    both = Keyring([NEW, OLD])
    before = sealed()
    assert not both.is_current(before)
    after = both.seal(both.open(before, "cluster"), "cluster", "aa:bb", b"o" * 12)
    assert both.is_current(after)
    assert Keyring([NEW]).open(after, "cluster").private_numbers() == KEY.private_numbers()


def test_secrets_are_not_shown() -> None:
    assert str(bytes(range(32))) not in repr(OLD)
    assert "secret" not in repr(OLD)
    assert repr(sealed().ciphertext) not in repr(sealed())


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_an_operator_key_has_32_bytes(size: int) -> None:
    with pytest.raises(KeyUnusable, match="must have 32; make one with"):
        OperatorKey(bytes(size))


def test_an_empty_keyring_is_refused() -> None:
    with pytest.raises(KeyUnusable):
        Keyring([])
