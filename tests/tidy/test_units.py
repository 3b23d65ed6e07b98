"""The units in systemd/: sound, hardened, and about a program that takes their flags."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from tests.support import peers
from tests.support.sources import PROJECT
from weft.cli import root

UNITS = sorted((PROJECT / "systemd").glob("*.service"))
EXPOSURE_MAX = "30"  # of 100; 0 is nothing exposed
PROGRAM = "/opt/weft/bin/weft"


def settings(unit: Path) -> dict[str, str]:
    """The last value of each, lines joined."""
    text = unit.read_text().replace("\\\n", " ")
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Za-z]+=", line))


def test_there_is_one_for_each_process() -> None:
    names = ["weft-agent.service", "weft-server.service", "weft-sidecar@.service"]
    assert [unit.name for unit in UNITS] == names


@pytest.mark.peer("systemd-analyze")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    copies = []
    for unit in UNITS:
        copy = tmp_path / unit.name.replace("@", "@web-1")
        copy.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
        copies.append(str(copy))
    command = [peers.require("systemd-analyze"), "verify", "--recursive-errors=yes", "--man=no", *copies]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.peer("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_it_is_exposed_to_little(unit: Path) -> None:
    program = peers.require("systemd-analyze")
    command = [program, "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_it_asks_for_what_a_service_of_ours_needs(unit: Path) -> None:
    said = settings(unit)
    wanted = {"Type": "notify", "DynamicUser": "yes", "NoNewPrivileges": "yes", "CapabilityBoundingSet": ""}
    assert wanted.items() <= said.items()
    assert {"WatchdogSec", "LoadCredential", "StateDirectory", "ExecReload", "TimeoutStopSec"} <= said.keys()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_the_program_takes_its_flags(unit: Path) -> None:
    program, name, *flags = shlex.split(settings(unit)["ExecStart"])
    assert program == PROGRAM
    command = root.get_command(click.Context(root), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {flag for flag in flags if flag.startswith("--")} <= known
