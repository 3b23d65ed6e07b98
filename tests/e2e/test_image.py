"""The container image: built from the Dockerfile without a network, and run with little that it may do.

A private engine in a network namespace of its own does it; the base image is made here, as none is pulled.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.sources import PROJECT

pytestmark = [pytest.mark.long, pytest.mark.peer("dockerd"), pytest.mark.peer("debootstrap")]
BASE = "python:3.11-slim"
PYTHON = (3, 11)
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
SOURCE = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "Dockerfile", ".dockerignore")
PACKAGES = ("weft", "registry", "sidecar", "ca")
PATIENCE_S = 60.0
# A container that may do nothing but write to its volume.
LOCKED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")
IMAGE_BYTES_MAX = 1024**3


class Engine:
    """dockerd of this test alone; `close` ends it and what it runs."""

    def __init__(self, folder: Path) -> None:
        self._host = f"unix://{folder}/sock"
        command = f"ip link set lo up; exec dockerd --data-root {folder}/data --exec-root {folder}/exec"
        command += f" --pidfile {folder}/pid -H {self._host}"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(["unshare", "-n", "sh", "-c", command], stdout=log, stderr=log)
        settled(lambda: self.ask("version", check=False) != "", "the engine answers")

    def ask(self, *words: str, check: bool = True, **environment: str) -> str:
        command = ["docker", "-H", self._host, *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip() if done.returncode == 0 else ""

    def close(self) -> None:
        for container in self.ask("ps", "-aq", check=False).split():
            self.ask("rm", "-f", container, check=False)
        self._process.terminate()
        self._process.wait(60)


def settled(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """With the image `weft` in it. WEFT_SYSTEMD_TREE may name a Debian tree for the base."""
    for program in ("dockerd", "docker", "debootstrap"):
        peers.require(program)
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"lends its wheels to Debian 12's Python {PYTHON}; this is {sys.version_info[:2]}")
    folder = Path(tempfile.mkdtemp(prefix="weft-image-"))
    running = None
    try:
        running = Engine(folder)
        _base(running, folder)
        _build(running, folder)
        yield running
    finally:
        if running is not None:
            running.close()
        shutil.rmtree(folder, ignore_errors=True)


def _base(engine: Engine, folder: Path) -> None:
    """Stands for the official image: Debian's Python under the names that this has."""
    tree = Path(os.environ.get("WEFT_SYSTEMD_TREE") or folder / "tree")
    if not (tree / "usr/bin/python3").exists():
        command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(tree)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    python = tree / "usr/bin/python"
    if not python.exists():
        python.symlink_to("python3")
    left_out = [f"--exclude=./{name}" for name in ("dev", "proc", "sys", "opt")]
    tar = subprocess.Popen(["tar", "-C", str(tree), "-c", *left_out, "."], stdout=subprocess.PIPE)
    subprocess.run(["docker", "-H", engine._host, "import", "-", BASE], stdin=tar.stdout, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    assert tar.stdout is not None
    tar.stdout.close()
    assert tar.wait() == 0


def _build(engine: Engine, folder: Path) -> None:
    """With the wheels in the build's context: a build has no network here."""
    context = folder / "context"
    context.mkdir()
    for name in SOURCE:
        shutil.copy(PROJECT / name, context)
    for package in PACKAGES:
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, context / package, ignore=left_out)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    wheels = ["-d", str(context / "wheels"), "-c", "constraints.txt", ".", "hatchling"]
    subprocess.run([*pip, *wheels], cwd=context, check=True)
    arguments = ("--pull=false", "--build-arg", "PIP_NO_INDEX=1", "-t", "weft", str(context))
    engine.ask("build", "-q", *arguments, DOCKER_BUILDKIT="0")


def test_it_runs_as_a_user_of_its_own_and_is_no_larger_than_it_must_be(engine: Engine) -> None:
    assert engine.ask("run", "--rm", *LOCKED, "weft", "--version").startswith("weft ")
    assert engine.ask("inspect", "-f", "{{.Config.User}}", "weft") == "64321:64321"
    assert int(engine.ask("inspect", "-f", "{{.Size}}", "weft")) < IMAGE_BYTES_MAX
    within = engine.ask("run", "--rm", "--entrypoint", "ls", "weft", "/opt/weft/lib/python3.11/site-packages")
    assert {"weft", "registry", "sidecar", "ca"} <= set(within.split())
    assert not {"tests", "bench", "pytest"} & set(within.split())


def test_a_registry_and_a_sidecar_in_containers(engine: Engine) -> None:
    """They share a network namespace, as a pod's do, and the volume that the credential lies in."""
    engine.ask("volume", "create", "state")
    shared = (*LOCKED, "-v", "state:/var/lib/weft")
    engine.ask("run", "-d", "--name", "dev", "--network", "none", *shared, "weft", "dev")
    inside = ("exec", "dev", "/opt/weft/bin/weft")
    settled(lambda: engine.ask(*inside, "catalog", "services", check=False), "the registry answers")
    register = ("services", "register", "--name", "web", "--port", "8080", "--sidecar")
    engine.ask(*inside, *register, "--credential", "/var/lib/weft/web.credential")
    sidecar = ("sidecar", "--credential", "/var/lib/weft/web.credential", "--state-dir", "/var/lib/weft/web")
    beside = ("--network", "container:dev", *shared)
    engine.ask("run", "-d", "--name", "web", *beside, "weft", *sidecar, "--admin-address", "127.0.0.1:19000")
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:19000/ready', timeout=5).status)"
    ready = ("exec", "web", "/opt/weft/bin/python", "-c", ask)
    settled(lambda: engine.ask(*ready, check=False) == "200", "the sidecar is ready")
    engine.ask("stop", "-t", "45", "web", "dev")
    for name in ("web", "dev"):
        assert engine.ask("inspect", "-f", "{{.State.ExitCode}}", name) == "0", engine.ask("logs", name)
