"""Starting on a data directory that is not quite right: refused whole, and left as it was."""

import dataclasses
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from ca import operator_key
from ca.errors import KeyUnusable
from registry.catalog import commands
from registry.process import Registry, Settings
from tests.support.registry import running_registry
from weft.errors import ConfigError, DataDirProblem, PortTaken, WeftError


def settings(data: Path, **changes: object) -> Settings:
    base = Settings(data, 0, 0, "dc1", "n1", timedelta(hours=72), True)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory in which a service is registered."""
    async with running_registry(data_dir=tmp_path / "data") as client:
        await client.register({"Name": "web"})
    return tmp_path / "data"


async def refused(wrong: Settings, kind: type[WeftError], text: str) -> None:
    with pytest.raises(kind, match=text):
        await Registry.start(wrong)


async def holds_its_service(data: Path) -> None:
    async with running_registry(data_dir=data) as client:
        assert set(await client.get("/v1/agent/services")) == {"web"}


async def test_another_datacenter_or_node_is_refused(data: Path) -> None:
    await refused(settings(data, datacenter="east"), ConfigError, "is of dc1")
    await refused(settings(data, node_name="n2"), ConfigError, "is of node n1")
    await holds_its_service(data)


async def test_without_a_name_the_node_is_the_one_it_was(data: Path) -> None:
    registry = await Registry.start(settings(data, node_name=""))
    assert registry.node == "n1"
    await registry.close()


async def test_a_directory_in_use_is_refused(data: Path) -> None:
    async with running_registry(data_dir=data):
        await refused(settings(data), DataDirProblem, "another Weft process uses it")


async def test_a_directory_of_another_version_is_refused(data: Path) -> None:
    (data / "FORMAT").write_text("weft data 99\n")
    await refused(settings(data), DataDirProblem, "another version")


@pytest.mark.parametrize("name", ["operator.key", "server.key", "server-root.pem"])
async def test_a_missing_key_is_never_replaced_in_silence(data: Path, tmp_path: Path, name: str) -> None:
    kept = (data / "keys" / name).rename(tmp_path / name)
    await refused(settings(data), DataDirProblem, f"{name} is missing")
    assert not (data / "keys" / name).exists()
    kept.rename(data / "keys" / name)
    await holds_its_service(data)


@pytest.mark.parametrize("name", ["server.key", "server-root.pem"])
async def test_a_foreign_key_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    async with running_registry(data_dir=tmp_path / "other"):
        pass
    (data / "keys" / name).write_bytes((tmp_path / "other" / "keys" / name).read_bytes())
    await refused(settings(data), DataDirProblem, "restore both from one backup")


async def test_trap_25_a_wrong_operator_key_is_refused_with_one_clear_line(
    data: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "operator.key"
    operator_key.write_file(wrong)
    await refused(
        settings(data, operator_key_file=wrong), KeyUnusable, "^operator key: the CA's key is sealed"
    )
    await holds_its_service(data)


async def test_a_key_that_others_may_read_is_refused(data: Path) -> None:
    (data / "keys" / "operator.key").chmod(0o644)
    await refused(settings(data), WeftError, "chmod 600")


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
async def test_a_taken_port_damages_nothing(data: Path, port: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        await refused(settings(data, **{port: taken.getsockname()[1]}), PortTaken, "cannot listen on")
    await holds_its_service(data)


@pytest.mark.parametrize("step", ["init_cluster", "activate_root"])
async def test_a_first_start_that_died_half_way_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Log and keys are made before the cluster is named, and that before it has a root."""

    def dies(*_: object) -> None:
        raise _Died

    with monkeypatch.context() as patch:
        patch.setattr(commands, step, dies)
        with pytest.raises(_Died):
            await Registry.start(settings(tmp_path / "data"))
    assert (tmp_path / "data" / "keys" / "operator.key").exists()
    async with running_registry(data_dir=tmp_path / "data") as client:
        assert len((await client.get("/v1/connect/ca/roots"))["Roots"]) == 1


class _Died(Exception):
    """What stands for the crash."""


async def test_a_log_that_was_taken_away_is_not_begun_anew(data: Path) -> None:
    """Its votes are gone with it (trap 19)."""
    for part in (data / "log").iterdir():
        part.unlink()
    await refused(settings(data), DataDirProblem, "the log of server .* is gone.*remove the whole directory")
