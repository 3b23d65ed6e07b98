"""The units in systemd/, started by a real systemd: READY, watchdog, credentials, reload, hardening."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import booted
from tests.support.booted import Booted

pytestmark = [pytest.mark.long, pytest.mark.peer("systemd-nspawn"), pytest.mark.peer("debootstrap")]
PATIENCE_S = 60.0
DYNAMIC_USERS = range(61184, 65520)  # systemd.exec(5), DynamicUser=
WEB = "weft-sidecar@web-1"
SERVER_TOML = "bootstrap_expect = 1\n"
AGENT_TOML = 'servers = ["127.0.0.1:8501"]\nhttp_port = 9500\ndns_port = 9600\nnode_name = "vm1"\n'


def settled(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def machine() -> Iterator[Booted]:
    """WEFT_SYSTEMD_TREE names a tree to make or use; without it one is made and removed."""
    booted.require()
    given = os.environ.get("WEFT_SYSTEMD_TREE")
    folder = Path(given or tempfile.mkdtemp(prefix="weft-systemd-"))
    there = None
    try:
        with tempfile.TemporaryDirectory() as logs:
            there = Booted(folder, Path(logs) / "nspawn.log")
            yield there
            there.close()
    finally:
        if there is not None:
            there.close()
        if not given:
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(machine: Booted) -> Booted:
    """A server, by its unit, and access to it in the environment file /root/env."""
    with tempfile.TemporaryDirectory() as folder:
        for words in (["tls", "ca", "create"], ["tls", "cert", "create", "--address", "127.0.0.1"]):
            command = [sys.executable, "-m", "weft", *words]
            subprocess.run(
                command,
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": "/"},
            )
        names = {"ca": "weft-server-ca", "cert": "dc1-server-0", "key": "dc1-server-0-key"}
        for name, file in names.items():
            machine.write(f"/etc/weft/server/{name}.pem", (Path(folder) / f"{file}.pem").read_text(), "0600")
    machine.run("sh", "-c", "umask 077; head -c 32 /dev/urandom | base64 > /etc/weft/server/ca.key")
    machine.write("/etc/weft/server.toml", SERVER_TOML)
    machine.start("weft-server")
    made = ""

    def bootstrapped() -> str:
        """ "" until there is a leader that knows what all servers can do."""
        nonlocal made
        made = made or machine.run("/opt/weft/bin/weft", "acl", "bootstrap", "--format", "json", check=False)
        return made

    settled(bootstrapped, "the cluster takes its first token")
    machine.write("/root/token", json.loads(made)["SecretID"], "0600")
    return machine


def weft(machine: Booted, *words: str) -> str:
    return machine.run("/opt/weft/bin/weft", *words, "--token-file", "/root/token")


@pytest.fixture(scope="module")
def sidecar(cluster: Booted) -> Booted:
    credential = "/etc/weft/sidecars/web-1.credential"
    cluster.write("/etc/weft/sidecars/web-1.env", "WEFT_ADMIN_ADDRESS=127.0.0.1:19000\n")
    weft(
        cluster,
        "services",
        "register",
        "--name",
        "web",
        "--port",
        "8080",
        "--sidecar",
        "--credential",
        credential,
    )
    cluster.start(WEB)
    return cluster


def is_ready(machine: Booted) -> bool:
    fetch = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:19000/ready', timeout=5)"
    return machine.run("sh", "-c", f'python3 -c "{fetch}" 2>/dev/null && echo ready', check=False) == "ready"


def test_a_server_is_ready_when_it_listens(cluster: Booted) -> None:
    assert cluster.shows("weft-server", "ActiveState") == "active"
    assert "web" not in weft(cluster, "catalog", "services")
    pid = cluster.shows("weft-server", "MainPID")
    uid = int(cluster.run("stat", "-c", "%u", f"/proc/{pid}"))
    assert uid in DYNAMIC_USERS
    assert cluster.run("stat", "-c", "%a", "/var/lib/private/weft-server") == "700"


def test_an_agent_joins_by_its_token(cluster: Booted) -> None:
    cluster.write("/etc/weft/join-token", weft(cluster, "join-token", "create", "--node", "vm1"), "0600")
    cluster.write("/etc/weft/agent.toml", AGENT_TOML)
    cluster.run("mkdir", "-p", "/etc/weft/agent.d")
    cluster.start("weft-agent")
    assert "vm1" in weft(cluster, "catalog", "nodes")


def test_a_sidecar_serves_and_is_replaced_by_reload(sidecar: Booted) -> None:
    """The successor is the main process, a child of systemd's, and ends in order when it is stopped."""
    assert is_ready(sidecar)
    before = sidecar.shows(WEB, "MainPID")
    sidecar.run("systemctl", "reload", WEB)
    settled(lambda: sidecar.shows(WEB, "MainPID") != before, "another main process")
    settled(lambda: not sidecar.run("sh", "-c", f"ls -d /proc/{before} || true"), "the old one ends")
    assert sidecar.shows(WEB, "ActiveState") == "active" and sidecar.shows(WEB, "NRestarts") == "0"
    assert is_ready(sidecar)
    pid = sidecar.shows(WEB, "MainPID")
    assert sidecar.run("sh", "-c", f"grep PPid /proc/{pid}/status").split()[1] == "1"
    sidecar.run("systemctl", "restart", WEB)
    said = sidecar.run("journalctl", "--no-pager", "-u", WEB)
    assert "Failed with result" not in said and '"event":"ended"' in said.replace(" ", "")
    assert is_ready(sidecar)


def test_what_it_may_not_do_is_in_force(sidecar: Booted) -> None:
    pid = sidecar.shows(WEB, "MainPID")
    status = dict(line.split(":", 1) for line in sidecar.run("cat", f"/proc/{pid}/status").splitlines())
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    mounts = sidecar.run("cat", f"/proc/{pid}/mountinfo").splitlines()
    root = next(line for line in mounts if line.split()[4] == "/")
    assert root.split()[5].startswith("ro")
    assert any("/run/credentials/weft-sidecar@web-1.service" in line for line in mounts)


def test_a_sidecar_that_hangs_is_started_again(sidecar: Booted) -> None:
    drop_in = f"/etc/systemd/system/{WEB}.service.d/watchdog.conf"
    sidecar.write(drop_in, "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n")
    sidecar.run("systemctl", "daemon-reload")
    sidecar.run("systemctl", "restart", WEB)
    before = sidecar.shows(WEB, "MainPID")
    time.sleep(4.0)  # longer than the watchdog: it is fed
    assert sidecar.shows(WEB, "MainPID") == before
    sidecar.run("sh", "-c", f"kill -STOP {before}")
    settled(lambda: sidecar.shows(WEB, "NRestarts") == "1", "the watchdog bites")
    settled(lambda: is_ready(sidecar), "it serves again")


def test_all_end_in_order(sidecar: Booted) -> None:
    for unit in (WEB, "weft-server"):
        sidecar.run("systemctl", "stop", unit)
        assert sidecar.shows(unit, "Result") == "success"
