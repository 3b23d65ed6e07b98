"""Where the operator's key may come from, and what is refused there."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca import operator_key
from ca.errors import KeyUnusable
from ca.sealing import OperatorKey

FIRST, SECOND = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_for_its_owner_only(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "key", f"# the operator's\n\n{FIRST}\n", mode)
    keyring = operator_key.find({}, path)
    assert keyring
    assert operator_key.find({"WEFT_CA_KEY_FILE": str(path)})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyUnusable, match="chmod 600"):
        operator_key.find({}, written(tmp_path / "key", FIRST, mode))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot be read"):
        operator_key.find({}, tmp_path / "none")


def test_the_environment_gives_it_once() -> None:
    environment = {"WEFT_CA_KEY": FIRST}
    assert operator_key.find(environment)
    assert environment == {}


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_a_systemd_credential(tmp_path: Path, mode: int) -> None:
    written(tmp_path / "weft-ca-key", FIRST, mode)
    assert operator_key.find({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_systemd_credential_that_all_may_read_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "weft-ca-key", FIRST, 0o444)
    with pytest.raises(KeyUnusable):
        operator_key.find({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert operator_key.find({}) is None
    assert operator_key.find({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None


def test_the_first_of_several_seals() -> None:
    keyring = operator_key.parse(f"{SECOND}\n{FIRST}", "here")
    first = operator_key.parse(FIRST, "here")
    key = ec.generate_private_key(ec.SECP256R1())
    assert keyring.open(first.seal(key, "c", "k", b"n" * 12), "c")
    sealed = keyring.seal(key, "c", "k", b"n" * 12)
    assert sealed.sealed_by == OperatorKey(bytes([2]) * 32).fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds 0 keys"),
        ("# only a comment", "holds 0 keys"),
        ("\n".join([FIRST] * 9), "holds 9 keys"),
        ("not base64!", "is not base64"),
        (base64.b64encode(b"short").decode(), "has 5 bytes"),
    ],
)
def test_a_bad_key_is_refused_without_being_shown(text: str, said: str) -> None:
    with pytest.raises(KeyUnusable, match=said) as refusal:
        operator_key.parse(text, "/run/key")
    assert "/run/key" in str(refusal.value)
    assert not text or text not in str(refusal.value)


def test_a_made_key_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    operator_key.write_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert operator_key.read_file(path)
