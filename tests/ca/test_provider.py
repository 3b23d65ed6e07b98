"""Where the authority's key lives."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.errors import KeyUnusable
from ca.provider import FileKey, KeyProvider, MemoryKey, private_pem


def public(provider: KeyProvider) -> ec.EllipticCurvePublicKey:
    return provider.key().public_key()


def test_a_memory_key_stays_the_same_and_is_not_shared() -> None:
    key = MemoryKey()
    assert public(key) == public(key) != public(MemoryKey())


def test_a_file_key_survives_the_process(tmp_path: Path) -> None:
    assert public(FileKey(tmp_path / "ca.pem")) == public(FileKey(tmp_path / "ca.pem"))


def test_trap_02_a_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    FileKey(path).key()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        FileKey(path).key()


@pytest.mark.parametrize("content", [b"", b"junk", private_pem(ec.generate_private_key(ec.SECP384R1()))])
def test_a_damaged_or_foreign_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyUnusable, match="restore"):
        FileKey(path).key()
    assert path.read_bytes() == content
