"""A node's own state: what is answered is on the disk, and a restart finds it."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.acl.caller import EVERYBODY
from registry.agent.local import Agent
from registry.agent.writer import Writer
from registry.catalog import limits
from registry.catalog.commands import Stamp
from registry.catalog.model import Node
from registry.client_agent import local_log
from registry.client_agent.home import Home
from registry.client_agent.local_log import LocalLog
from registry.client_agent.store import Store
from registry.errors import NotReady
from tests.support.registry import until
from weft.aio import Tasks
from weft.clock import SystemClock
from weft.errors import DataDirProblem, EnvironmentProblem

NODE = Node("n1", "10.0.0.1", "dc1", "5a0bbd0e-7c4d-4e0f-9c0a-3f2b1d9e8a77")
WEB = b'{"Name": "web", "Port": 80, "Checks": [{"TTL": "60s"}, {"TTL": "90s"}], "Meta": {"a": "b"}}'


def stamp() -> Stamp:
    return Stamp(1, os.urandom(16))


def opened(folder: Path, node: Node = NODE) -> tuple[LocalLog, Agent]:
    log = LocalLog.open(Store(folder), node, stamp)
    return log, Agent(Writer(log, SystemClock(), os.urandom), node, lambda _: True)


async def test_a_restart_finds_services_and_the_status_of_checks(tmp_path: Path) -> None:
    log, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    await agent.set_status(agent.check("service:web:2"), "passing", "well")
    before = agent.services(), agent.checks()
    await log.close()
    _, again = opened(tmp_path)
    assert [row.id for row in again.services()] == ["web"]
    assert [(it.id, it.status, it.output, it.definition) for it in again.checks()] == [
        (it.id, it.status, it.output, it.definition) for it in before[1]
    ]
    assert again.services()[0].meta == {"a": "b"}


async def test_what_is_deregistered_stays_away(tmp_path: Path) -> None:
    log, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    await agent.deregister("web", EVERYBODY)
    await log.close()
    _, again = opened(tmp_path)
    assert again.services() == ()
    assert again.checks() == ()


async def test_registrations_move_to_the_nodes_new_name(tmp_path: Path) -> None:
    log, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    await log.close()
    _, again = opened(tmp_path, Node("n2", "10.0.0.2", "dc1", NODE.id))
    assert [row.node for row in again.services()] + [row.node for row in again.checks()] == ["n2"] * 3


async def test_a_disk_that_takes_nothing_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, agent = opened(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Store, "keep", full)
        with pytest.raises(EnvironmentProblem):
            await agent.register(WEB, EVERYBODY)
        assert agent.services() == ()
    await agent.register(WEB, EVERYBODY)
    assert [row.id for row in agent.services()] == ["web"]


def full(_self: Store, _rows: object) -> None:
    raise EnvironmentProblem("no space")


async def test_what_is_deregistered_after_a_write_that_failed_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    with monkeypatch.context() as broken:
        broken.setattr(Store, "keep", full)
        with pytest.raises(EnvironmentProblem):
            await agent.register(b'{"Name": "more"}', EVERYBODY)
    await agent.deregister("web", EVERYBODY)
    await log.close()
    _, again = opened(tmp_path)
    assert again.services() == ()


async def test_a_file_that_cannot_be_deleted_is_told_of_and_tried_again(tmp_path: Path) -> None:
    _, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    (file,) = (tmp_path / "services").iterdir()
    file.unlink()
    file.mkdir()  # what no unlink takes away, not even root's
    with pytest.raises(EnvironmentProblem, match="cannot delete"):
        await agent.deregister("web", EVERYBODY)
    assert [row.id for row in agent.services()] == ["web"]
    file.rmdir()
    await agent.deregister("web", EVERYBODY)
    assert agent.services() == ()


async def test_what_is_gone_is_forgotten_also_after_a_disk_that_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = int(SystemClock().wall() * 1000)
    monkeypatch.setattr(local_log, "FORGOTTEN_AFTER_S", 0.001)
    log = LocalLog.open(Store(tmp_path), NODE, lambda: Stamp(now_ms, os.urandom(16)))
    agent = Agent(Writer(log, SystemClock(), os.urandom), NODE, lambda _: True)
    await agent.register(WEB, EVERYBODY)
    await agent.register(b'{"Name": "gone"}', EVERYBODY)
    await agent.deregister("gone", EVERYBODY)
    assert list(log.view().tombstones.items())
    tasks = Tasks()
    with monkeypatch.context() as broken, capture_logs() as told:
        broken.setattr(Store, "keep", full)
        with pytest.raises(EnvironmentProblem):
            await agent.register(b'{"Name": "more"}', EVERYBODY)
        now_ms += 2 * limits.TOMBSTONE_KEPT_MS
        tasks.spawn(log.forget(), "tombstones")
        await until(lambda: any(it.get("reason") == "no space" for it in told))
    await until(lambda: not list(log.view().tombstones.items()))
    await tasks.close()
    await log.close()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"service": {"novel": 1}, "checks": []}', b'{"a": 1}']
)
async def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, damage: bytes) -> None:
    log, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    await log.close()
    (file,) = (tmp_path / "services").iterdir()
    file.write_bytes(damage)
    with pytest.raises(DataDirProblem, match="delete it"):
        opened(tmp_path)


async def test_what_is_written_is_for_its_owner_only(tmp_path: Path) -> None:
    _, agent = opened(tmp_path)
    await agent.register(WEB, EVERYBODY)
    (file,) = (tmp_path / "services").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_closed_log_refuses(tmp_path: Path) -> None:
    log, agent = opened(tmp_path)
    await log.close()
    with pytest.raises(NotReady):
        await agent.register(WEB, EVERYBODY)


def test_a_directory_is_one_agents_and_keeps_the_nodes_id(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "data", os.urandom)
    with pytest.raises(DataDirProblem, match="another Weft process"):
        Home.open(tmp_path / "data", os.urandom)
    home.close()
    again = Home.open(tmp_path / "data", os.urandom)
    assert again.node_id == home.node_id
    again.close()


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(DataDirProblem, match="not Weft's"):
        Home.open(tmp_path, os.urandom)
    assert [it.name for it in tmp_path.iterdir()] == ["precious"]


def test_a_servers_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("weft data 2\n")
    with pytest.raises(DataDirProblem, match="not an agent's"):
        Home.open(tmp_path, os.urandom)
