"""Weft's side of the comparison: `weft dev` and two real `weft sidecar` processes, as a user starts them."""

import json
import os
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

from .errors import NotReady
from .pair import Pair
from .pki import Leaf
from .processes import Child, free_port, listening
from .workloads import path

_CALLER, _CALLEE, _SHADOW = "bench-caller", "bench-callee", "bench-shadow"
# As `bench.envoy_config` has it: retries within a budget, instances ejected by rows and shares of failures.
# Requests join their traces and none is sampled, so nobody has to listen there.
_RETRIES: dict[str, Any] = {
    "NumRetries": 2,
    "RetryOn": ["connect-failure", "refused-stream", "reset", "unavailable"],
    "RetryBudget": {"Percent": 20, "Min": 3},
}
_ROUTER: dict[str, Any] = {
    "Kind": "service-router",
    "Name": _CALLEE,
    "Routes": [{"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": _RETRIES}],
}
_ENTRIES: tuple[dict[str, Any], ...] = (
    {"Kind": "proxy-defaults", "Name": "global", "Tracing": {"OTLPEndpoint": "grpc://127.0.0.1:1"}},
    {
        "Kind": "service-defaults",
        "Name": _CALLER,
        "UpstreamConfig": {
            "Defaults": {"PassiveHealthCheck": {"Interval": "1s", "MaxFailures": 5, "FailurePercent": 85}}
        },
    },
    _ROUTER,
)
_HTTP_TIMEOUT_S = 10.0
_WEFT = (sys.executable, "-m", "weft")  # from this checkout, whether installed or not


def start(stack: ExitStack, directory: Path, backend_port: int, http1: bool = False) -> Pair:
    """Registers caller and callee, allows the call, starts their sidecars. Raises NotReady."""
    return _pair(stack, directory, _registry(stack, directory), backend_port, http1)


def _pair(stack: ExitStack, directory: Path, http: str, backend_port: int, http1: bool) -> Pair:
    port, peer_port = free_port(), free_port()
    callee = _register(http, directory, _service(_CALLEE, backend_port, peer_port, []))
    upstream = {"DestinationName": _CALLEE, "LocalBindAddress": "127.0.0.1", "LocalBindPort": port}
    caller = _register(http, directory, _service(_CALLER, free_port(), free_port(), [upstream]))
    for entry in (_protocol(_CALLEE, http1), *_ENTRIES, _intention(_CALLEE, http1)):
        _put(f"{http}/v1/config", entry)
    second = _sidecar(stack, directory, "weft-second", callee)
    first = _sidecar(stack, directory, "weft-first", caller)
    second.wait_until(listening(peer_port), "it listened")
    first.wait_until(listening(port), "it listened")
    return Pair(port, first, second, peer_port, _leaf(http, directory))


def start_with_shadow(stack: ExitStack, directory: Path, backend_port: int, shadow_port: int) -> Pair:
    """As `start`; calls with `x-mirror: yes` are also copied to a third service, at `shadow_port`."""
    http, peer_port = _registry(stack, directory), free_port()
    pair = _pair(stack, directory, http, backend_port, False)
    shadow = _register(http, directory, _service(_SHADOW, shadow_port, peer_port, []))
    match = {"HTTP": {"PathPrefix": "/", "Header": [{"Name": "x-mirror", "Exact": "yes"}]}}
    mirrors = [{"Service": _SHADOW, "Percent": 100}]
    router = deepcopy(_ROUTER)
    router["Routes"].insert(0, {"Match": match, "Destination": _RETRIES | {"Mirrors": mirrors}})
    for entry in (_protocol(_SHADOW, False), _intention(_SHADOW, False), router):
        _put(f"{http}/v1/config", entry)
    third = _sidecar(stack, directory, "weft-shadow", shadow)
    third.wait_until(listening(peer_port), "it listened")
    elsewhere(third)
    return pair


def elsewhere(child: Child) -> None:
    """Gives it only what others leave of the processors, as if it ran on another machine."""
    for task in Path(f"/proc/{child.pid}/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))


def _registry(stack: ExitStack, directory: Path) -> str:
    """Where its HTTP API answers."""
    http = f"http://127.0.0.1:{free_port()}"
    ready = directory / "weft-dev.json"
    dev = [*_WEFT, "dev", "--http-port", http.rpartition(":")[2], "--grpc-port", str(free_port())]
    dev += ["--dns-port", "-1", "--default-intention", "deny", "--ready-file", str(ready)]
    registry = stack.enter_context(Child("weft-dev", dev, directory))
    registry.wait_until(ready.exists, "it was ready")
    return http


def _protocol(service: str, http1: bool) -> dict[str, Any]:
    return {"Kind": "service-defaults", "Name": service, "Protocol": "http" if http1 else "grpc"}


def _intention(service: str, http1: bool) -> dict[str, Any]:
    """Of the caller, only what it really asks."""
    permission = {"Action": "allow", "HTTP": {"PathExact": path(http1), "Methods": ["POST"]}}
    source = {"Name": _CALLER, "Permissions": [permission]}
    return {"Kind": "service-intentions", "Name": service, "Sources": [source]}


def _service(name: str, port: int, sidecar_port: int, upstreams: list[dict[str, Any]]) -> dict[str, Any]:
    sidecar = {"Port": sidecar_port, "Proxy": {"Upstreams": upstreams}}
    return {"Name": name, "Address": "127.0.0.1", "Port": port, "Connect": {"SidecarService": sidecar}}


def _register(http: str, directory: Path, service: dict[str, Any]) -> Path:
    """Registers the service; returns the file with the credential of its sidecar."""
    file = directory / f"{service['Name']}.credential.json"
    file.touch(mode=0o600)
    file.write_bytes(_put(f"{http}/v1/agent/service/register?credential", service))
    return file


def _leaf(http: str, directory: Path) -> Leaf:
    """A certificate of the caller as its agent hands it out."""
    issued = json.loads(_ask(urllib.request.Request(f"{http}/v1/agent/connect/ca/leaf/{_CALLER}")))
    leaf = Leaf(directory / "caller.pem", directory / "caller.key")
    for file, pem in ((leaf.chain, issued["CertPEM"]), (leaf.key, issued["PrivateKeyPEM"])):
        file.touch(mode=0o600)
        file.write_text(pem)
    return leaf


def _put(url: str, body: dict[str, Any]) -> bytes:
    return _ask(urllib.request.Request(url, json.dumps(body).encode(), method="PUT"))


def _ask(request: urllib.request.Request) -> bytes:
    url = request.full_url
    try:
        with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        raise NotReady(f"the registry refused {url}: {error.read().decode(errors='replace')[:300]}") from None
    except OSError as error:
        raise NotReady(f"the registry did not answer {url}: {error}") from None


def _sidecar(stack: ExitStack, directory: Path, name: str, credential: Path) -> Child:
    command = [*_WEFT, "sidecar", "--credential", str(credential), "--admin-address", "127.0.0.1:0"]
    return stack.enter_context(Child(name, command, directory))
