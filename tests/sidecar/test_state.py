"""What lies on disk is 0600, whole, and this instance's."""

import random
from pathlib import Path

import pytest

from sidecar.identity import Identity, Svid
from sidecar.session import Session
from sidecar.state import MAGIC, StateDir, StateWriter
from sidecar.telemetry import Telemetry
from tests.support import resources as make
from tests.support.fake_registry import FakeRegistry
from weft.clock import SystemClock
from weft.errors import DataDirProblem


@pytest.fixture
async def svid(registry: FakeRegistry) -> Svid:
    session = Session(registry.credential)
    try:
        return await Identity(session.sign, SystemClock(), random.Random(1), Telemetry()).obtain()
    finally:
        await session.close()


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "deep" / "state", make.WEB_KEY)


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "deep" / "state").iterdir())


def test_an_empty_directory_holds_nothing(state: StateDir) -> None:
    assert state.load_config() is None
    assert state.load_svid(0.0) is None


def test_a_configuration_comes_back(state: StateDir) -> None:
    resources = make.all_resources()
    state.save_config(resources, 42)
    assert state.load_config() == (resources, 42)


def test_a_certificate_comes_back_and_is_due(state: StateDir, svid: Svid) -> None:
    state.save_svid(svid)
    now = SystemClock().wall()
    loaded = state.load_svid(now)
    assert loaded is not None
    assert (loaded.key_pem, loaded.chain_der, loaded.identity) == (
        svid.key_pem,
        svid.chain_der,
        svid.identity,
    )
    assert loaded.renew_at == now
    assert state.load_svid(svid.not_after) is None


def test_trap_02_only_the_owner_may_read(state: StateDir, svid: Svid, tmp_path: Path) -> None:
    state.save_config(make.all_resources(), 1)
    state.save_svid(svid)
    assert [path.name for path in files(tmp_path)] == ["config", "svid.pem"]
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}
    assert (tmp_path / "deep" / "state").stat().st_mode & 0o777 == 0o700
    files(tmp_path)[0].chmod(0o644)
    with pytest.raises(DataDirProblem, match="chmod 600"):
        state.load_config()


def test_another_instances_state_is_refused(state: StateDir, tmp_path: Path) -> None:
    state.save_config(make.all_resources(), 1)
    other = StateDir(tmp_path / "deep" / "state", "dc1/node1/orders-1")
    with pytest.raises(DataDirProblem, match=r"belongs to instance 'dc1/node1/web-1'.*--state-dir"):
        other.load_config()


def test_another_version_is_refused_and_left_alone(state: StateDir, tmp_path: Path) -> None:
    state.save_config(make.all_resources(), 1)
    path = files(tmp_path)[0]
    path.write_bytes(MAGIC + b"2\nwhatever")
    with pytest.raises(DataDirProblem, match="another version"):
        state.load_config()
    assert path.read_bytes() == MAGIC + b"2\nwhatever"


def test_another_file_is_refused(state: StateDir, tmp_path: Path) -> None:
    state.save_config(make.all_resources(), 1)
    files(tmp_path)[0].write_bytes(b"my thesis")
    with pytest.raises(DataDirProblem, match="not a state file"):
        state.load_config()


@pytest.mark.parametrize("damage", [-1, 0, 60])
def test_a_damaged_cache_is_no_cache(state: StateDir, tmp_path: Path, damage: int) -> None:
    state.save_config(make.all_resources(), 1)
    path = files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    if damage:
        content[damage] ^= 1
    else:
        del content[-20:]
    path.write_bytes(content)
    assert state.load_config() is None


def test_a_damaged_certificate_is_none(state: StateDir, svid: Svid, tmp_path: Path) -> None:
    state.save_svid(svid)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-60])
    assert state.load_svid(0.0) is None


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirProblem, match="give another --state-dir"):
        StateDir(tmp_path / "file" / "state", make.WEB_KEY)


async def test_the_writer_writes_the_newest_and_clears(state: StateDir, svid: Svid, tmp_path: Path) -> None:
    writer, resources = StateWriter(state), make.all_resources()
    writer.config(resources, 1)
    writer.config(resources, 2)
    writer.svid(svid)
    await writer.flush()
    assert state.load_config() == (resources, 2)
    writer.config(resources, 3)
    await writer.clear()
    await writer.flush()
    assert not files(tmp_path)
