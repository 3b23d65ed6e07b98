"""`.ci/run`: what it runs, and that its exit code is theirs."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.sources import PROJECT


@pytest.fixture
def ci(tmp_path: Path) -> "Runner":
    return Runner(tmp_path)


class Runner:
    """Runs `.ci/run` with every program present, and a `make` that only writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.asked = folder / "asked"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("git", *peers.DEBIAN_PACKAGES):
            self._program(name, "exit 0")

    def run(self, make_exits: int = 0) -> int:
        self._program("make", f'echo "$* peers=$WEFT_REQUIRE_PEERS" >> {self.asked}; exit {make_exits}')
        path = f"{self.programs}:{os.environ['PATH']}"
        ran = subprocess.run([PROJECT / ".ci" / "run"], env={**os.environ, "PATH": path}, cwd="/")
        return ran.returncode

    def _program(self, name: str, does: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)


def test_it_runs_the_tests_and_then_the_long_ones_with_every_peer_required(ci: Runner) -> None:
    assert ci.run() == 0
    assert ci.asked.read_text().splitlines() == ["test peers=1", "ci-long peers=1"]


def test_a_failure_is_its_exit_code_and_ends_it(ci: Runner) -> None:
    assert ci.run(make_exits=2) == 2
    assert ci.asked.read_text().splitlines() == ["test peers=1"]


def test_it_installs_every_program_that_tests_need() -> None:
    script = (PROJECT / ".ci" / "run").read_text()
    for package in peers.DEBIAN_PACKAGES.values():
        assert f"={package}\n" in script
