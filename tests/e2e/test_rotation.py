"""A new root under load: two sidecars carry traffic through the whole rotation, and no call fails."""

import contextlib
import json
import socket
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.support.load import Load, calling
from tests.support.mesh import HOST, Member, Mesh, in_thread, wait_for
from tests.support.processes import free_port
from tests.support.waiting import until

RETIRE_S = 150.0  # leaf of 10 s, skew of 60 s, and a busy machine


@contextlib.asynccontextmanager
async def loaded(folder: Path, leaf_ttl: str) -> AsyncIterator[tuple[Mesh, list[Member], Load]]:
    """A mesh of two services, one of which calls the other without pause."""
    mesh = await in_thread(Mesh, folder, "--leaf-ttl", leaf_ttl, "--data-dir", str(folder / "data"))
    try:
        server = await in_thread(mesh.add, "orders")
        client = await in_thread(lambda: mesh.add("web", upstreams=["orders"], app_port=free_port()))
        await in_thread(mesh.registry.intend, "web", "orders", "allow")
        await in_thread(mesh.wait, server, client)
        async with calling(client.to("orders"), callers=4) as load:
            await load.served_by({server.id})
            yield mesh, [server, client], load
    finally:
        unclean = await in_thread(mesh.close)
    assert unclean == []


async def weft(mesh: Mesh, *arguments: str) -> str:
    """What a command says. It must end with 0."""
    child = mesh.processes.start_weft("command", *arguments, "--http-addr", mesh.registry.http)
    await until(lambda: child.exit_code is not None, f"weft {arguments} ends", 40)
    assert child.exit_code == 0, child.said()
    mesh.processes.forget(child)
    return child.said()


def roots_now(mesh: Mesh) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://{mesh.registry.http}/v1/connect/ca/roots", timeout=10) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())["Roots"]
        return found


async def roots(mesh: Mesh) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await in_thread(roots_now, mesh)
    return found


def wait_for_one_root(mesh: Mesh) -> None:
    end = time.monotonic() + RETIRE_S
    while len(roots_now(mesh)) > 1:
        assert time.monotonic() < end, f"the old root is still there after {RETIRE_S:g} s"
        time.sleep(0.5)


def signer_of(member: Member) -> str:
    """Whose key signed the certificate that the sidecar shows now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((HOST, member.public_port), timeout=5) as raw,
        context.wrap_socket(raw) as shown,
    ):
        leaf = x509.load_der_x509_certificate(shown.getpeercert(binary_form=True) or b"")
    names = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return (names.key_identifier or b"").hex(":")


async def renewed(members: list[Member], key_id: str) -> None:
    """Until every sidecar shows a leaf of the root with this key."""
    await in_thread(
        wait_for, lambda: {signer_of(member) for member in members} == {key_id}, "leaves of the new root"
    )


async def test_trap_25_sidecars_renew_soon_under_a_new_root_and_no_call_fails(tmp_path: Path) -> None:
    async with loaded(tmp_path, "40s") as (mesh, members, load):
        (before,) = await roots(mesh)
        assert "The old root" in await weft(mesh, "ca", "rotate")
        both = await roots(mesh)
        assert {row["Active"] for row in both if row["ID"] == before["ID"]} == {False}
        (active,) = [row for row in both if row["Active"]]
        assert len(both) == 2
        assert len(active["IntermediateCerts"]) == 1
        await renewed(members, active["SigningKeyID"])
        await load.served_by({members[0].id})
        assert load.failed == [], load.summary()


@pytest.mark.long
async def test_trap_25_a_registry_that_dies_in_a_rotation_finishes_it(tmp_path: Path) -> None:
    async with loaded(tmp_path, "10s") as (mesh, members, load):
        (before,) = await roots(mesh)
        await weft(mesh, "ca", "rotate")
        mesh.kill(mesh.dev)
        await in_thread(mesh.start_registry)
        (active,) = [row for row in await roots(mesh) if row["Active"]]
        assert active["ID"] != before["ID"]
        await renewed(members, active["SigningKeyID"])
        await in_thread(wait_for_one_root, mesh)
        assert [row["ID"] for row in await roots(mesh)] == [active["ID"]]
        await renewed(members, active["SigningKeyID"])
        await load.served_by({members[0].id})
        print(f"{len(load.outcomes)} calls through a whole rotation, {len(load.failed)} failed")
        assert load.failed == [], load.summary()
