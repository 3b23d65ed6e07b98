"""`weft drain` with real sidecars under load: nobody sees it."""

import asyncio
import json
import sys
from typing import Any

import grpc

from tests.support.grpc_eof import EOF
from tests.support.grpc_matrix import Client, connect
from tests.support.load import calling
from tests.support.matrix_app import Wish
from tests.support.mesh import Member, Mesh, in_thread
from tests.support.processes import free_port
from tests.support.waiting import until


async def weft(mesh: Mesh, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weft", *arguments, "--http-addr", f"127.0.0.1:{mesh.registry_ports[0]}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def said(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def lines_until(process: asyncio.subprocess.Process, start: str) -> list[str]:
    """What it prints, up to the line that begins so."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(20):
        while not lines or not lines[-1].startswith(start):
            lines.append((await process.stdout.readline()).decode().rstrip())
            assert lines[-1], lines
    return lines


async def two_and_a_caller(mesh: Mesh, service: str) -> tuple[Member, Member, Member]:
    first = await in_thread(mesh.add, service, 1)
    second = await in_thread(mesh.add, service, 2)
    caller = await in_thread(lambda: mesh.add(f"{service}-caller", upstreams=[service], app_port=free_port()))
    await in_thread(mesh.registry.intend, f"{service}-caller", service, "allow")
    await in_thread(mesh.wait, first, second, caller)
    return first, second, caller


async def stream_to(client: Client, instance: str) -> Any:
    """An open stream that this instance answers: tried until the balancer chooses it."""
    while True:
        call = client.bidi(metadata=[Wish(whoami=True).as_metadata()], timeout=60)
        await call.write(b"first")
        if dict(await call.initial_metadata())["instance"] == instance:
            assert await call.read() == b"first"
            return call
        call.cancel()


async def test_no_request_fails_while_an_instance_is_drained(mesh: Mesh) -> None:
    first, second, caller = await two_and_a_caller(mesh, "leaving")
    target = caller.to("leaving")
    async with calling(target) as load, connect(target) as client:
        await load.served_by({first.id, second.id})
        stream = await stream_to(client, first.id)
        process = await weft(mesh, "drain", first.id, "--wait", "60s")
        await load.served_by({second.id}, count=200)
        assert process.returncode is None, "it waits for the stream"
        await stream.write(b"once more")
        assert await stream.read() == b"once more", "an open stream goes on"
        lines = await lines_until(process, "1 open")
        before = len(load.outcomes)
        await stream.done_writing()
        assert await stream.read() is EOF
        assert await stream.code() is grpc.StatusCode.OK
        code, out, err = await said(process)
        await until(lambda: len(load.outcomes) > before + 100, "calls go on")
    assert (code, err) == (0, ""), (out, err)
    assert lines[0] == f"{first.id} takes no new requests"
    assert out.splitlines()[-1] == f"{first.id} is deregistered"
    assert load.failed == [], load.summary()
    assert await in_thread(mesh.registry.passing, "leaving") == [second.id]
    await until(lambda: first.running.exit_code is not None, "its sidecar has no identity any more")
    mesh.processes.forget(first.running)


async def test_what_does_not_end_in_time_is_cut_off_and_said(mesh: Mesh) -> None:
    first, _, caller = await two_and_a_caller(mesh, "hurried")
    async with connect(caller.to("hurried")) as client:
        stream = await stream_to(client, first.id)
        process = await weft(mesh, "drain", first.id, "--wait", "1500ms", "--format", "json")
        code, out, err = await said(process)
        assert (code, err) == (0, "")
        told = json.loads(out)
        assert (told["ID"], told["Open"], told["Deregistered"]) == (first.id, 1, True)
        assert await stream.code() is not grpc.StatusCode.OK
    await until(lambda: first.running.exit_code is not None, "its sidecar has no identity any more")
    mesh.processes.forget(first.running)


async def test_maintenance_lets_open_streams_end_and_can_be_lifted(mesh: Mesh) -> None:
    first, second, caller = await two_and_a_caller(mesh, "mending")
    async with calling(caller.to("mending")) as load, connect(caller.to("mending")) as client:
        await load.served_by({first.id, second.id})
        stream = await stream_to(client, first.id)
        code, out, _ = await said(await weft(mesh, "maint", "--enable", "--service", first.id))
        assert (code, out) == (0, f"{first.id} is in maintenance\n")
        await load.served_by({second.id}, count=200)
        await stream.write(b"still here")
        assert await stream.read() == b"still here"
        await until_listed(mesh, "1 requests open")
        stream.cancel()
        code, out, _ = await said(await weft(mesh, "maint", "--disable", "--service", first.id))
        assert (code, out) == (0, f"{first.id} is in use again\n")
        await load.served_by({first.id, second.id})
    assert load.failed == [], load.summary()
    assert (await said(await weft(mesh, "maint", "--format", "json")))[1].strip() == "[]"


async def until_listed(mesh: Mesh, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in (await said(await weft(mesh, "maint")))[1]:
            pass


async def test_draining_what_is_not_there_names_what_is(mesh: Mesh) -> None:
    code, out, err = await said(await weft(mesh, "drain", "nobody-1"))
    assert (code, out) == (1, "")
    assert err.startswith('weft: the registry refused (404): no instance "nobody-1" on this node that')


async def test_an_instance_without_a_sidecar_is_waited_for_and_gone(mesh: Mesh) -> None:
    await in_thread(mesh.registry.update, {"Name": "bare", "Port": 1})
    code, out, _ = await said(await weft(mesh, "drain", "bare", "--wait", "100ms"))
    assert code == 0
    assert "it has no sidecar that counts requests" in out
    assert out.splitlines()[-1] == "bare is deregistered"
    assert "bare" not in await in_thread(mesh.registry.services)
