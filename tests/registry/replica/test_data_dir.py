"""Data directories that cannot be used: one clear line, and nothing in them changed."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from registry.catalog import commands
from registry.replica.data_dir import FORMAT, DataDir
from registry.replica.replica import Replica
from tests.support.catalog import node, stamp
from weft.errors import DataDirProblem

ROOT = Path(__file__).resolve().parents[3]


def _run(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _content(path: Path) -> dict[str, bytes]:
    return {str(it.relative_to(path)): it.read_bytes() for it in path.rglob("*") if it.is_file()}


def test_a_new_directory_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    with DataDir.open(path):
        assert (path / "FORMAT").read_text() == FORMAT + "\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "log").stat().st_mode) == 0o700
    with DataDir.open(path):
        pass


async def test_log_files_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    log = await Replica.open(tmp_path)
    await log.propose(commands.register(stamp(), node()))
    await log.close()
    assert {stat.S_IMODE(it.stat().st_mode) for it in (tmp_path / "log").iterdir()} == {0o600}


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("weft data 99\n")
    before = _content(tmp_path)
    with pytest.raises(DataDirProblem, match=r"another version .*'weft data 99'.*another directory"):
        DataDir.open(tmp_path)
    assert _content(tmp_path) == before


def test_a_log_without_its_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "log-0001").write_bytes(b"")
    with pytest.raises(DataDirProblem, match="no FORMAT"):
        DataDir.open(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", ".git", "wal"])
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataDirProblem, match=rf"holds '{name}' but no FORMAT.*an empty directory") as caught:
        DataDir.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert [it.name for it in tmp_path.iterdir()] == [name]


def test_what_a_crash_leaves_of_setting_up_is_no_stranger(tmp_path: Path) -> None:
    for name in ("log", "lost+found"):
        (tmp_path / name).mkdir()
    for name in ("LOCK", "FORMAT.tmp"):
        (tmp_path / name).touch()
    with DataDir.open(tmp_path):
        assert (tmp_path / "FORMAT").exists()


async def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    log = await Replica.open(tmp_path)
    before = _content(tmp_path)
    script = (
        "import sys; from pathlib import Path; from registry.replica.data_dir import DataDir\n"
        "try: DataDir.open(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    told = await asyncio.to_thread(_run, script, tmp_path)
    assert told.stdout.startswith("DataDirProblem data directory")
    assert "another Weft process" in told.stdout
    assert told.stdout.count("\n") == 1
    assert _content(tmp_path) == before
    await log.close()
    with DataDir.open(tmp_path):
        pass


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(DataDirProblem, match="not a directory"):
        DataDir.open(path)
    with pytest.raises(DataDirProblem, match="data directory"):
        DataDir.open(path / "below")
    assert path.read_text() == "mine"


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(DataDirProblem, match="chmod 700"):
        DataDir.open(path)
    assert list(path.iterdir()) == []


def test_a_directory_without_rights_is_refused(tmp_path: Path) -> None:
    """As another user, because root may do everything."""
    path = tmp_path / "data"
    path.mkdir(mode=0o500)
    script = (
        "import os, sys; from pathlib import Path; from registry.replica.data_dir import DataDir\n"
        "if os.geteuid() == 0: os.chown(sys.argv[1], 65534, 65534); os.seteuid(65534)\n"
        "try: DataDir.open(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    told = _run(script, path)
    assert told.stdout.startswith("DataDirProblem data directory"), told
    assert told.stdout.count("\n") == 1
    assert list(path.iterdir()) == []


async def test_a_corrupt_log_names_file_offset_and_mend(tmp_path: Path) -> None:
    log = await Replica.open(tmp_path)
    for number in range(5):
        await log.propose(commands.register(stamp(), node(f"n{number}")))
    await log.close()
    [segment] = (tmp_path / "log").glob("log-*")
    data = bytearray(segment.read_bytes())
    data[60] ^= 0x55
    segment.write_bytes(data)
    before = _content(tmp_path)
    with pytest.raises(DataDirProblem, match=rf"{tmp_path}.*{segment.name}.*offset \d+.*backup") as caught:
        await Replica.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert _content(tmp_path) == before
    with DataDir.open(tmp_path):  # and the lock was given back
        pass
