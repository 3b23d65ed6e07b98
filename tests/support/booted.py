"""A booted Debian in a container of systemd's own (nspawn), with Weft as its units expect it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.sources import PROJECT

PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,iproute2"
PYTHON = (3, 11)  # of bookworm; our own packages are lent to it
BOOT_S = 60.0
SITE = f"opt/weft/lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages"
WEFT = """#!/opt/weft/bin/python
import sys
sys.path.insert(0, "/opt/weft-src")
from weft.cli import main
main()
"""


def require() -> None:
    """Skips, by name, where nothing can be booted."""
    for program in ("systemd-nspawn", "debootstrap"):
        peers.require(program)
    if os.geteuid() != 0:
        pytest.skip("booting a container needs root")
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"lends its packages to Debian 12's Python {PYTHON}; this is {sys.version_info[:2]}")


class Booted:
    """`tree` is made if it is not there: two minutes, 400 MB. Everything ends with `close`."""

    def __init__(self, tree: Path, log: Path) -> None:
        self._tree = tree
        if not (tree / "etc/debian_version").exists():
            self._bootstrap(log)
        self._prepare()
        command = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
            "--volatile=overlay", "-D", str(tree), f"--bind-ro={_site_packages()}:/{SITE}",
            f"--bind-ro={PROJECT}:/opt/weft-src", "--boot", "--console=pipe",
        ]  # fmt: skip
        with log.open("ab") as output:
            self._nspawn = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            self._init = self._first_process()
            self._wait_for_boot()
        except BaseException:
            self.close()
            raise

    def run(self, *command: str, check: bool = True, stdin: str = "") -> str:
        """What it prints, in the container."""
        words = ["nsenter", "-t", str(self._init), "-a", *command]
        done = subprocess.run(words, capture_output=True, text=True, input=stdin, timeout=120)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def shows(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", name, unit)

    def start(self, unit: str) -> None:
        """Returns once the unit says READY=1. What it said is in the message if it does not."""
        try:
            self.run("systemctl", "start", unit)
        except AssertionError as error:
            raise AssertionError(self.run("journalctl", "--no-pager", "-u", unit, check=False)) from error

    def close(self) -> None:
        """Ends the container, by its processes' ids."""
        if self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(30)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()

    def _bootstrap(self, log: Path) -> None:
        with log.open("ab") as output:
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(self._tree)],
                check=True, stdout=output, stderr=output,
            )  # fmt: skip
        subprocess.run(
            ["chroot", self._tree, "python3", "-m", "venv", "--without-pip", "/opt/weft"], check=True
        )

    def _prepare(self) -> None:
        for folder in ("opt/weft-src", SITE):
            (self._tree / folder).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._tree / "var/log/journal", ignore_errors=True)  # of another run in this tree
        program = self._tree / "opt/weft/bin/weft"
        program.write_text(WEFT)
        program.chmod(0o755)
        for unit in (PROJECT / "systemd").glob("*.service"):
            shutil.copy(unit, self._tree / "etc/systemd/system")

    def _first_process(self) -> int:
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
            if self._nspawn.poll() is None:
                for found in map(int, children.read_text().split()):
                    if _is_init(found):
                        return found
            time.sleep(0.05)
        raise AssertionError("nspawn starts nothing here")

    def _wait_for_boot(self) -> None:
        end = time.monotonic() + BOOT_S
        state = ""
        while time.monotonic() < end:
            state = self.run("systemctl", "is-system-running", check=False)
            if state in ("running", "degraded"):
                return
            time.sleep(0.2)
        raise AssertionError(f"systemd is {state!r} after {BOOT_S:g} s")


def _is_init(process: int) -> bool:
    """Whether it is the first one of a PID namespace: nspawn's own helper comes before that, and goes."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    (ids,) = (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(ids) > 1 and ids[-1] == "1"


def _site_packages() -> str:
    import cryptography

    return str(Path(cryptography.__file__).parents[1])
