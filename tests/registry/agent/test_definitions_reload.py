"""Definition files over time: all or nothing, gone when they are gone, apart from what the API registered."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from registry.acl.caller import EVERYBODY
from registry.agent.definition_files import Defined
from registry.agent.definitions import DefinitionFiles, DefinitionPaths
from registry.agent.local import Agent
from registry.agent.probes import Prober
from registry.agent.runner import Runner
from registry.agent.scripts import ScriptPolicy
from registry.agent.writer import Writer
from registry.catalog.commands import Stamp
from registry.catalog.model import Node
from registry.client_agent.local_log import LocalLog
from registry.client_agent.store import Store
from registry.errors import CommandRefused
from tests.support.waiting import until
from weft.aio import Tasks
from weft.clock import SystemClock
from weft.errors import ConfigError, UsageError

NODE = Node("n1", "10.0.0.1", "dc1", "5a0bbd0e-7c4d-4e0f-9c0a-3f2b1d9e8a77")
Made = Callable[[], DefinitionFiles]


class Machine:
    """One machine's registrations and definition files; `files` made anew is the process started again."""

    def __init__(self, folder: Path, scripts: ScriptPolicy = ScriptPolicy.OFF) -> None:
        self.folder = folder
        self.definitions = folder / "definitions"
        self.definitions.mkdir()
        self.log = LocalLog.open(Store(folder), NODE, lambda: Stamp(1, os.urandom(16)))
        clock = SystemClock()
        self.agent = Agent(Writer(self.log, clock, os.urandom), NODE, lambda _: True, scripts)
        self.prober = Prober()
        self.runner = Runner(self.log, self.agent, self.prober, clock, lambda: 0.5)
        self.told: list[Defined] = []

    def files(self) -> DefinitionFiles:
        async def note(defined: Sequence[Defined]) -> None:
            self.told.extend(defined)

        paths = DefinitionPaths((), (self.definitions,))
        return DefinitionFiles(paths, self.agent, self.runner, self.folder, note)

    def write(self, name: str, text: str) -> None:
        (self.definitions / name).write_text(text)

    def ids(self) -> list[str]:
        return [row.id for row in self.agent.services()]

    def checks(self) -> dict[str, str]:
        return {row.id: row.status for row in self.agent.checks()}

    async def close(self) -> None:
        await self.runner.close()
        await self.prober.close()
        await self.log.close()


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    yield made
    await made.close()


async def test_what_leaves_the_files_is_deregistered_and_nothing_else(machine: Machine) -> None:
    await machine.agent.register(b'{"Name": "by-api"}', EVERYBODY)
    machine.write(
        "a.hcl", 'service { name = "a" check { id = "one" ttl = "9s" } check { id = "two" ttl = "9s" } }'
    )
    machine.write("b.json", '{"service": {"name": "b"}, "check": {"name": "disk", "ttl": "9s"}}')
    files = machine.files()
    await files.reload()
    assert machine.ids() == ["a", "b", "by-api"]
    assert set(machine.checks()) == {"one", "two", "disk"}
    (machine.definitions / "b.json").unlink()
    machine.write("a.hcl", 'service { name = "a" check { id = "two" ttl = "9s" } }')
    await files.reload()
    assert machine.ids() == ["a", "by-api"]
    assert set(machine.checks()) == {"two"}


async def test_what_left_the_files_while_nobody_ran_is_deregistered_at_the_start(machine: Machine) -> None:
    machine.write("a.hcl", 'service { name = "a" } service { name = "b" }')
    await machine.files().reload()
    machine.write("a.hcl", 'service { name = "b" }')
    await machine.files().reload()
    assert machine.ids() == ["b"]


async def test_a_reload_is_no_news_about_health(machine: Machine) -> None:
    machine.write("a.hcl", 'service { name = "a" check { id = "c" ttl = "99s" } }')
    files = machine.files()
    await files.reload()
    await machine.agent.set_status(machine.agent.check("c"), "passing", "well")
    machine.write("a.hcl", 'service { name = "a" port = 9 check { id = "c" ttl = "99s" } }')
    await files.reload()
    assert machine.checks() == {"c": "passing"}


async def test_maintenance_outlives_a_reload(machine: Machine) -> None:
    machine.write("a.hcl", 'service { name = "a" check { id = "c" ttl = "99s" } }')
    files = machine.files()
    await files.reload()
    await machine.agent.maintain_service("a", True, "moving", EVERYBODY)
    await files.reload()
    assert "_service_maintenance:a" in machine.checks()


@pytest.mark.parametrize(
    "wrong",
    [
        'service { name = "a" port = "x" }',
        'service { name = "a" } service { name = "a" }',
        "service {",
        'check { name = "c" service_id = "nobody" ttl = "9s" }',  # found out by the catalog's own rules
    ],
)
async def test_what_is_wrong_changes_nothing(machine: Machine, wrong: str) -> None:
    machine.write("a.hcl", 'service { name = "a" port = 1 }')
    files = machine.files()
    await files.reload()
    machine.write("a.hcl", 'service { name = "a" port = 2 }')
    machine.write("b.hcl", wrong)
    with pytest.raises((UsageError, CommandRefused)):
        await files.reload()
    assert [(row.id, row.port) for row in machine.agent.services()] == [("a", 1)]


async def test_sidecars_of_one_reload_get_ports_of_their_own(machine: Machine) -> None:
    body = 'service {{ name = "{0}" port = 80 connect {{ sidecar_service {{}} }} }}'
    machine.write("a.hcl", "\n".join(body.format(name) for name in "abc"))
    files = machine.files()
    await files.reload()
    ports = [row.port for row in machine.agent.services() if row.kind]
    assert len(set(ports)) == 3
    await files.reload()
    assert [row.port for row in machine.agent.services() if row.kind] == ports


async def test_a_services_token_is_handed_on(machine: Machine) -> None:
    machine.write("a.hcl", 'service { name = "a" token = "secret-of-a" } service { name = "b" }')
    await machine.files().reload()
    assert [(it.spec.service.id, it.token) for it in machine.told] == [("a", "secret-of-a"), ("b", "")]


async def test_scripts_are_for_files_where_only_these_may_run_them(tmp_path: Path) -> None:
    script = 'service { name = "a" check { id = "c" args = ["true"] interval = "9s" } }'
    for policy, works in ((ScriptPolicy.LOCAL, True), (ScriptPolicy.OFF, False)):
        (tmp_path / policy.value).mkdir()
        machine = Machine(tmp_path / policy.value, policy)
        machine.write("a.hcl", script)
        if works:
            await machine.files().reload()
            assert machine.ids() == ["a"]
            with pytest.raises(UsageError, match="remote calls"):
                await machine.agent.register(
                    b'{"Name": "b", "Check": {"Args": ["true"], "Interval": "9s"}}', EVERYBODY
                )
        else:
            with pytest.raises(UsageError, match="Scripts are disabled"):
                await machine.files().reload()
        await machine.close()


async def test_a_change_of_a_file_is_noticed(machine: Machine) -> None:
    files, tasks = machine.files(), Tasks()
    tasks.spawn(files.run(), "definitions")
    try:
        await asyncio.sleep(0)
        machine.write("a.hcl", 'service { name = "a" }')
        await until(lambda: machine.ids() == ["a"], "the new file is read", 20.0)
        machine.write("a.hcl", "service {")
        machine.write("b.hcl", 'service { name = "b" }')
        machine.write("a.hcl", 'service { name = "a" port = 7 }')
        await until(lambda: machine.ids() == ["a", "b"], "both are read", 20.0)
        (machine.definitions / "a.hcl").unlink()
        await until(lambda: machine.ids() == ["b"], "and its end is noticed", 20.0)
    finally:
        await tasks.close()


async def test_a_folder_that_cannot_be_read_is_named(machine: Machine) -> None:
    machine.definitions.rmdir()
    with pytest.raises(ConfigError, match="--config-dir"):
        await machine.files().reload()
