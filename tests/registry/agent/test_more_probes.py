"""UDP, HTTP/2 PING, systemd units, aliases of other nodes, thresholds: with real peers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import uvloop
from aiohttp import web

from registry.agent.probe_udp import probe_udp
from registry.agent.status import Outcome
from registry.catalog.model import CRITICAL, PASSING, WARNING, CheckDefinition
from registry.machine import port_free
from tests.registry.agent.test_checks import SOON, becomes, http_server, prober
from tests.support.peers import require
from tests.support.pki import self_signed_pem
from tests.support.processes import free_port
from tests.support.registry import Client, until


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A bound port that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def port_of(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


async def test_a_udp_port_that_keeps_silent_passes(udp: socket.socket) -> None:
    async with prober() as probe:
        outcome = await probe("udp", udp=f"127.0.0.1:{port_of(udp)}")
    assert outcome.status == PASSING
    udp.setblocking(False)
    assert udp.recvfrom(10)[0] == b"", "an empty datagram came"


async def test_a_closed_udp_port_is_critical() -> None:
    async with prober() as probe:
        outcome = await probe("udp", udp=f"127.0.0.1:{free_udp_port()}")
    assert outcome.status == CRITICAL
    assert "refused" in outcome.output


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        return port_of(bound)


def test_udp_on_the_loop_that_servers_use(udp: socket.socket) -> None:
    async def both() -> tuple[Outcome, BaseException]:
        passing = await probe_udp(CheckDefinition(udp=f"127.0.0.1:{port_of(udp)}", timeout_ms=200))
        with pytest.raises(ConnectionRefusedError) as refused:
            await probe_udp(CheckDefinition(udp=f"127.0.0.1:{free_udp_port()}"))
        return passing, refused.value

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        passing, refused = runner.run(both())
    assert (passing.status, type(refused)) == (PASSING, ConnectionRefusedError)


@asynccontextmanager
async def grpc_server(*, tls: bool) -> AsyncIterator[str]:
    """Any gRPC server answers PINGs: it is HTTP/2."""
    server = grpc.aio.server()
    if tls:
        chain, key = self_signed_pem("localhost")
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_h2ping_over_tls_and_without() -> None:
    async with grpc_server(tls=True) as secure, grpc_server(tls=False) as plain, prober() as probe:
        assert (await probe("h2ping", h2ping=secure, tls_skip_verify=True)).status == PASSING
        assert (await probe("h2ping", h2ping=plain, h2ping_plaintext=True)).status == PASSING
        unproven = await probe("h2ping", h2ping=secure)
        assert (unproven.status, "CERTIFICATE_VERIFY_FAILED" in unproven.output) == (CRITICAL, True)
        assert (await probe("h2ping", h2ping=plain, tls_skip_verify=True)).status == CRITICAL


@pytest.mark.peer("nghttpd")
async def test_h2ping_to_nghttpd() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(require("nghttpd"), "--no-tls", str(port))
    try:
        await until(lambda: not port_free(port))
        async with prober() as probe:
            outcome = await probe("h2ping", h2ping=f"127.0.0.1:{port}", h2ping_plaintext=True)
        assert outcome.status == PASSING
    finally:
        process.terminate()
        await process.wait()


async def test_h2ping_of_what_speaks_http_1_is_critical() -> None:
    async with http_server(lambda _: web.Response()) as url, prober() as probe:
        target = url.removeprefix("http://").rstrip("/")
        outcome = await probe("h2ping", h2ping=target, h2ping_plaintext=True)
    assert outcome.status == CRITICAL
    assert "does not speak HTTP/2" in outcome.output


async def test_trap_28_the_new_probes_reach_no_metadata_service() -> None:
    async with prober() as probe:
        for kind in ("udp", "h2ping"):
            outcome = await probe(kind, **{kind: "169.254.169.254:80"})
            assert "metadata address" in outcome.output


BOOTED = Path("/run/systemd/system").exists()
SYSTEMCTL = """#!/bin/sh
[ "$1 $2 $3" = "show --property=LoadState,ActiveState,SubState --" ] || exit 9
case "$4" in
  absent*) printf 'LoadState=not-found\\nActiveState=inactive\\nSubState=dead\\n' ;;
  *) printf 'LoadState=loaded\\nActiveState=%s\\nSubState=x\\n' "${4%.service}" ;;
esac
"""


@pytest.mark.parametrize(
    ("unit", "status"),
    [
        ("active.service", PASSING),
        ("reloading", WARNING),
        ("activating", WARNING),
        ("failed", CRITICAL),
        ("inactive", CRITICAL),
        ("absent", CRITICAL),
    ],
)
async def test_the_state_of_a_unit(
    unit: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of systemctl 252; one that was booted is asked where there is one."""
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with prober() as probe:
        assert (await probe("os_service", os_service=unit)).status == status


@pytest.mark.peer("systemctl")
async def test_the_real_systemctl_is_understood() -> None:
    async with prober() as probe:
        outcome = await probe("os_service", os_service="no-such-unit-here.service")
    assert outcome.status == CRITICAL
    assert ("no such unit" if BOOTED else "not been booted with systemd") in outcome.output


async def test_an_alias_of_another_node(client: Client) -> None:
    other = {"Node": "n2", "Address": "127.0.0.2"}
    check = {"Name": "disk", "CheckID": "disk", "Status": "passing"}
    await client.put("/v1/catalog/register", other | {"Service": {"Service": "db"}, "Check": check})
    await client.put("/v1/agent/check/register", {"Name": "far", "AliasNode": "n2", "AliasService": "db"})
    await client.put("/v1/agent/check/register", {"Name": "node", "AliasNode": "n2"})
    await client.put("/v1/agent/check/register", {"Name": "lost", "AliasNode": "n3"})
    for name, status in (("far", PASSING), ("node", PASSING), ("lost", CRITICAL)):
        await becomes(client, name, status)
    full = check | {"Status": "warning", "Output": "full"}
    await client.put("/v1/catalog/register", other | {"Check": full})
    for name in ("far", "node"):
        await becomes(client, name, WARNING)
        assert (await client.get("/v1/agent/checks"))[name]["Output"] == "Aliased check disk failing: full"
    assert (await client.get("/v1/agent/checks"))["lost"]["Output"] == "Node n3 could not be found"


async def test_thresholds_of_a_check_that_is_really_asked(client: Client) -> None:
    """Statuses as watchers see them: two failures warn, four are critical, three successes pass."""
    answers, asked = {"status": 500}, []

    def answer(_: web.BaseRequest) -> web.Response:
        asked.append(answers["status"])
        return web.Response(status=answers["status"])

    thresholds = {"SuccessBeforePassing": 3, "FailuresBeforeWarning": 2, "FailuresBeforeCritical": 4}
    async with http_server(answer) as url:
        check = {"HTTP": url, "Status": "passing", **SOON, **thresholds}
        await client.register({"Name": "web", "Check": check})
        await becomes(client, "service:web", WARNING)
        assert len(asked) >= 2
        await becomes(client, "service:web", CRITICAL)
        assert len(asked) >= 4
        answers["status"] = 200
        await becomes(client, "service:web", PASSING)
        assert asked.count(200) >= 3
