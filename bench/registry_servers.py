"""Three servers of each side on this machine: `weft server` as an operator starts it, and Debian's etcd."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ca import operator_key
from weft.files import write_private

from .errors import BenchError, NotReady, PeerMissing
from .processes import Child, free_port, listening

SERVERS = 3
_HOST = "127.0.0.1"
_WEFT = (sys.executable, "-m", "weft")  # from this checkout, whether installed or not
_READY_S = 60.0
_POLL_S = 0.1
_PORTS = ("server", "http", "https", "grpc", "agent")


def weft(stack: ExitStack, directory: Path) -> tuple[list[Child], dict[str, Any]]:
    """The processes, and what a load generator must know. Raises NotReady."""
    token = str(uuid.uuid4())
    write_private(directory / "token", token.encode())
    operator_key.write_file(directory / "ca.key")
    _run("tls", "ca", "create", "--directory", str(directory))
    names = [f"s{number}" for number in range(SERVERS)]
    for name in (*names, "client"):
        _certificate(directory, name)
    ports = {name: {kind: free_port() for kind in _PORTS} for name in names}
    children = [stack.enter_context(_server(directory, name, ports)) for name in names]
    for child, name in zip(children, names, strict=True):
        child.wait_until((directory / f"{name}.ready").exists, "it was ready", _READY_S)
    told = [json.loads((directory / f"{name}.ready").read_text()) for name in names]
    return children, {
        "side": "weft",
        "servers": [each["server"] for each in told],
        "http": [each["http"] for each in told],
        "agents": [each["agents"] for each in told],
        "token": token,
        "tls": [str(directory / file) for file in ("weft-server-ca.pem", *_files("client"))],
    }


def dev(stack: ExitStack, directory: Path) -> tuple[Child, dict[str, Any]]:
    """One durable `weft dev`, as it is without options. Raises NotReady."""
    ready = directory / "dev.ready"
    command = [*_WEFT, "dev", "--data-dir", str(directory / "data"), "--ready-file", str(ready)]
    command += ["--http-port", "0", "--grpc-port", "0", "--dns-port", "-1"]
    child = stack.enter_context(Child("weft-dev", command, directory))
    child.wait_until(ready.exists, "it was ready", _READY_S)
    told = json.loads(ready.read_text())
    return child, {"http": [told["http"]], "grpc": told["grpc"]}


def leader_first(told: dict[str, Any]) -> list[str]:
    """The HTTP addresses of a cluster that `weft` has started. Raises NotReady."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        for http in told["http"]:
            with urllib.request.urlopen(f"http://{http}/v1/status/leader", timeout=_READY_S) as answer:
                leader = json.load(answer)
            if leader in told["servers"]:
                first = told["http"][told["servers"].index(leader)]
                return [first, *(it for it in told["http"] if it != first)]
        time.sleep(_POLL_S)
    raise NotReady("no server says who leads")


def _run(*arguments: str) -> None:
    done = subprocess.run([*_WEFT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"weft {' '.join(arguments)}: {done.stderr.strip()[-300:]}")


def _files(name: str) -> tuple[str, str]:
    return f"{name}.pem", f"{name}-key.pem"


def _certificate(directory: Path, name: str) -> None:
    home = directory / f"certificate-{name}"
    home.mkdir()
    root = ["--ca", str(directory / "weft-server-ca.pem"), "--key", str(directory / "weft-server-ca-key.pem")]
    _run("tls", "cert", "create", *root, "--node", name, "--address", _HOST, "--directory", str(home))
    [key] = home.glob("*-key.pem")
    [chain] = (file for file in home.glob("*.pem") if file != key)
    for made, wanted in zip((chain, key), _files(name), strict=True):
        made.rename(directory / wanted)


def _server(directory: Path, name: str, ports: dict[str, dict[str, int]]) -> Child:
    chain, key = _files(name)
    command = [*_WEFT, "server", "--data-dir", str(directory / name), "--node-name", name]
    for kind, port in ports[name].items():
        command += [f"--{kind}-port", str(port)]
    command += ["--tls-ca", str(directory / "weft-server-ca.pem"), "--tls-cert", str(directory / chain)]
    command += ["--tls-key", str(directory / key), "--ca-key-file", str(directory / "ca.key")]
    command += ["--management-token-file", str(directory / "token"), "--bootstrap-expect", str(SERVERS)]
    command += ["--ready-file", str(directory / f"{name}.ready"), "--log-level", "warning"]
    command += ["--dns-port", "-1"]
    for other in ports.keys() - {name}:
        command += ["--retry-join", f"{_HOST}:{ports[other]['server']}"]
    return Child(f"weft-{name}", command, directory)


def etcd(stack: ExitStack, directory: Path) -> tuple[list[Child], dict[str, Any]]:
    """Likewise. Raises PeerMissing."""
    program = etcd_program()
    names = [f"e{number}" for number in range(SERVERS)]
    clients = {name: free_port() for name in names}
    peers = {name: f"http://{_HOST}:{free_port()}" for name in names}
    members = ",".join(f"{name}={url}" for name, url in peers.items())
    children = []
    for name in names:
        url = f"http://{_HOST}:{clients[name]}"
        command = [program, "--name", name, "--data-dir", str(directory / name)]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name]]
        command += ["--initial-cluster", members, "--logger", "zap", "--log-level", "warn"]
        children.append(stack.enter_context(Child(f"etcd-{name}", command, directory)))
    for child, name in zip(children, names, strict=True):
        child.wait_until(listening(clients[name]), "it listened", _READY_S)
    return children, {"side": "etcd", "servers": [f"{_HOST}:{clients[name]}" for name in names]}


def etcd_program() -> str:
    """Raises PeerMissing."""
    found = shutil.which("etcd")
    if not found:
        raise PeerMissing(
            "etcd is not installed, and Weft is measured beside it: apt-get install etcd-server"
        )
    return found


def etcd_version() -> str:
    told = subprocess.run([etcd_program(), "--version"], capture_output=True, text=True, check=False)
    return told.stdout.partition("\n")[0].replace("etcd Version:", "etcd").strip()
