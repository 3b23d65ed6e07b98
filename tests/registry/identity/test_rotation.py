"""The CA of a running registry: its key sealed, its root rotated, its leaves recorded."""

import base64
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca import operator_key
from ca.errors import KeyUnusable
from ca.provider import MemoryKey
from ca.rotation import Phase
from registry.agent.writer import Writer
from registry.catalog import commands
from registry.catalog.model import service_leaf_key
from registry.identity.errors import KeyMismatch
from registry.identity.rotation import Rotation, root_row
from registry.identity.signing_key import SigningKey
from registry.process import Registry, Settings
from tests.support.catalog import CLUSTER, World, stamp
from tests.support.pki import Domain, csr
from tests.support.registry import Client, mesh, running_registry, until
from tests.support.world_log import Server
from weft.clock import SystemClock
from weft.pb.mesh.v1 import mesh_pb2

WEB = {"Name": "web", "Port": 8080, "Connect": {"SidecarService": {}}}
ROTATE = "/v1/connect/ca/configuration?rotate"
LEAF = "/v1/agent/connect/ca/leaf/web"


class Held:
    """A key that somebody else made."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def key(self) -> ec.EllipticCurvePrivateKey:
        return self._key


async def rotated(client: Client) -> str:
    """Asks for a new root and waits for it; its id."""
    before = (await client.get("/v1/connect/ca/roots"))["ActiveRootID"]
    await client.put(ROTATE, {})
    log = client.registry.log
    await until(lambda: (log.view().active_root() or before) and log.view().ca().rows.phase is Phase.SWITCHED)
    active: str = (await client.get("/v1/connect/ca/roots"))["ActiveRootID"]
    assert active != before
    return active


async def test_the_ca_key_lies_in_the_log_sealed_and_nowhere_else(tmp_path: Path) -> None:
    async with running_registry(data_dir=tmp_path / "data") as client:
        state = client.registry.log.view()
        keyring = operator_key.read_file(tmp_path / "data" / "keys" / "operator.key")
        assert state.cluster
        assert state.authority
        assert state.authority.key
        plain = keyring.open(state.authority.key, state.cluster.id)
    secret = plain.private_numbers().private_value.to_bytes(32, "big")
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path


async def test_trap_25_new_leaves_are_signed_by_the_new_root_and_chain_to_the_old() -> None:
    async with running_registry() as client, client.channel() as channel:
        credential = await client.credential(WEB)
        await rotated(client)
        request = mesh_pb2.SignCertificateRequest(csr_der=csr())
        answer = await mesh(channel).SignCertificate(request, metadata=(credential.metadata(),))
        leaf, crossed = (x509.load_der_x509_certificate(der) for der in answer.chain_der)
        roots = (await client.get("/v1/connect/ca/roots"))["Roots"]
        old, new = (
            x509.load_pem_x509_certificate(row["RootCert"].encode())
            for row in sorted(roots, key=lambda row: bool(row["Active"]))
        )
        leaf.verify_directly_issued_by(new)
        leaf.verify_directly_issued_by(crossed)
        crossed.verify_directly_issued_by(old)


async def test_the_bundle_says_who_signs() -> None:
    async with running_registry() as client, client.channel() as channel:
        credential = await client.credential(WEB)
        await rotated(client)

        async def hello():  # type: ignore[no-untyped-def]
            yield mesh_pb2.SubscribeRequest(hello=mesh_pb2.Hello())

        stream = mesh(channel).Subscribe(hello(), metadata=(credential.metadata(),))
        delta = await stream.read()
        stream.cancel()
        (bundle,) = [each.bundle for each in delta.upserts if each.name.startswith("bundle/")]
        root = client.registry.log.view().active_root()
        assert root
        assert bundle.signing_key_id.hex(":") == root.signing_key_id
        assert len(bundle.roots_der) == 2


async def test_trap_25_a_rotation_that_was_only_asked_for_is_finished_after_a_restart(tmp_path: Path) -> None:
    async with running_registry(data_dir=tmp_path / "data") as client:
        await client.registry.tasks.close()  # the driver dies
        state = client.registry.log.view()
        await client.put(ROTATE, {})
        assert client.registry.log.view().ca().rows.phase is Phase.REQUESTED
    async with running_registry(data_dir=tmp_path / "data") as client:
        log = client.registry.log
        await until(lambda: log.view().ca().rows.phase is Phase.SWITCHED)
        before, after = state.active_root(), log.view().active_root()
        assert before and after and before.id != after.id
        await client.call("GET", LEAF)


async def test_trap_25_a_new_operator_key_seals_the_ca_key_anew(tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    old = base64.b64encode(os.urandom(32)).decode()
    new = base64.b64encode(os.urandom(32)).decode()

    async def sealed_by(*keys: str) -> str:
        file.write_text("\n".join(keys))
        file.chmod(0o600)
        registry = await Registry.start(
            Settings(tmp_path / "data", 0, 0, "dc1", "n1", None, True, operator_key_file=file)
        )
        try:
            first = operator_key.parse(keys[0], "here")
            current = registry.log.view().ca().rows

            def done() -> bool:
                key = registry.log.view().ca().rows.key
                return key is not None and first.is_current(key)

            await until(done)
            assert current.key
            sealed = registry.log.view().ca().rows.key
            assert sealed
            return sealed.sealed_by
        finally:
            await registry.close()

    first = await sealed_by(old, new)
    second = await sealed_by(new, old)
    assert first != second
    assert await sealed_by(new) == second
    with pytest.raises(KeyUnusable, match="give the operator key that this cluster was set up with"):
        await sealed_by(old)


async def test_a_ca_key_in_a_file_is_taken_into_the_log_and_removed() -> None:
    """As a data directory from before keys were in the log has it."""
    world, domain = World.set_up(), Domain(CLUSTER.trust_domain, datetime.now(UTC))
    row = root_row(CLUSTER.trust_domain, domain.root, ())
    world.do(commands.set_roots(stamp(), [row], 0))
    server, signing = Server(world), SigningKey(operator_key.in_memory())
    writer = Writer(server, SystemClock(), os.urandom)
    with pytest.raises(KeyMismatch, match=r"ca\.key from a backup"):
        await Rotation(server, writer, signing, os.urandom).ensure(None)
    with pytest.raises(KeyMismatch, match="restore both from one backup"):
        await Rotation(server, writer, signing, os.urandom, MemoryKey()).ensure(None)
    await Rotation(server, writer, signing, os.urandom, Held(domain.key)).ensure(None)
    assert signing.of(world.state).private_numbers() == domain.key.private_numbers()
    assert [each.id for each in world.state.roots.values()] == [row.id]


async def test_a_services_leaf_is_recorded_and_a_revoked_one_replaced() -> None:
    async with running_registry() as client:
        await client.register({"Name": "web", "Port": 8080})
        first = await client.get(LEAF)
        state = client.registry.log.view()
        (record,) = state.leaves_of(service_leaf_key("web"))
        assert f"{record.serial:032x}" == first["SerialNumber"].replace(":", "")
        await client.put("/v1/agent/service/deregister/web")
        assert record.serial in {row.serial for row in client.registry.log.view().revoked().rows}
        assert (await client.get(LEAF))["SerialNumber"] != first["SerialNumber"]


async def test_a_services_leaf_is_renewed_when_the_root_changes() -> None:
    async with running_registry() as client:
        first = await client.get(LEAF)
        await rotated(client)
        second = await client.get(LEAF)
        assert second["SerialNumber"] != first["SerialNumber"]
        assert second["CertPEM"].count("BEGIN CERTIFICATE") == 2
        assert (await client.get(LEAF))["SerialNumber"] == second["SerialNumber"]
