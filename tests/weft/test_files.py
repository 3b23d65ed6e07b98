"""Files: bounds; of secret ones modes, and whole replacement."""

import io
import os
from pathlib import Path

import pytest

from weft.errors import ConfigError, EnvironmentProblem
from weft.files import read_bounded, read_private, write_private
from weft.limits import PRIVATE_FILE_BYTES_MAX


def test_trap_02_a_private_file_is_created_and_replaced_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert read_private(path, "key") == b"new"


def test_a_failed_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    write_private(path, b"old")

    def broken(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_trap_02_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
        read_private(path, "key")


def test_a_directory_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_private(tmp_path, "key")
    path = tmp_path / "huge"
    write_private(path, b"x" * (PRIVATE_FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="another file"):
        read_private(path, "key")


def test_no_more_than_its_bound_is_read_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(b"x" * 10)
    assert read_bounded(path, "--tls-ca", 10) == b"x" * 10
    with pytest.raises(ConfigError, match="--tls-ca: over 9 bytes"):
        read_bounded(path, "--tls-ca", 9)
    with pytest.raises(ConfigError, match="--tls-ca: cannot be read"):
        read_bounded(tmp_path / "none", "--tls-ca")


def test_a_file_that_is_open_is_read_and_stays_open() -> None:
    file = io.BytesIO(b"x" * 10)
    with pytest.raises(ConfigError, match="over 4 bytes"):
        read_bounded(file, "-", 4)
    assert file.read() == b"x" * 5
