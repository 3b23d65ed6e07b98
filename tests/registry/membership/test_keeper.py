"""What keeps an agent a member: renewals in time, another root, another server."""

import asyncio
import random
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from registry.membership import keeper as module
from registry.membership import schedule
from registry.membership.files import FILE, Membership, MembershipFiles
from registry.membership.keeper import Keeper
from tests.support.enrolment import hello, joined
from tests.support.processes import free_port
from tests.support.registry import Client, running_registry, until
from weft.clock import SystemClock


@asynccontextmanager
async def kept(member: Membership, folder: Path) -> AsyncIterator[Keeper]:
    keeper = Keeper(member, MembershipFiles(folder), lambda: hello().hello, SystemClock(), lambda: 0.5)
    keeper.start()
    try:
        yield keeper
    finally:
        await keeper.close()


def passing(client: Client) -> bool:
    row = client.registry.log.view().checks.get(("vm-1", "serfHealth"))
    return row is not None and row.status == "passing"


async def test_a_certificate_is_renewed_before_half_of_its_life_and_kept(tmp_path: Path) -> None:
    async with running_registry(leaf_ttl=timedelta(seconds=10)) as client:
        member = await joined(client, tmp_path)
        async with kept(member, tmp_path) as keeper:
            await until(lambda: keeper.membership is not member)
            renewed = keeper.membership
            assert renewed.key_pem != member.key_pem
            assert renewed.not_before_s < (member.not_before_s + member.not_after_s) / 2
            assert MembershipFiles(tmp_path).load("vm-1") == renewed
            assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
            await until(lambda: bool(keeper.held_at))  # by the new one
            assert passing(client)


async def test_another_root_is_followed_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "ROOT_SPREAD_S", 0.1)
    async with running_registry() as client:
        member = await joined(client, tmp_path)
        async with kept(member, tmp_path) as keeper:
            await until(lambda: bool(keeper.held_at))
            await client.put("/v1/connect/ca/configuration?rotate", {})
            await until(lambda: keeper.membership is not member)
            assert keeper.membership.signing_key_id != member.signing_key_id
            assert len(x509.load_pem_x509_certificates(keeper.membership.roots_pem.encode())) == 2
            await until(lambda: bool(keeper.held_at))


async def test_a_server_that_is_not_there_is_left_for_the_next(tmp_path: Path) -> None:
    async with running_registry() as client:
        member = await joined(client, tmp_path)
        addresses = (*(f"127.0.0.1:{free_port()}" for _ in range(2)), client.registry.agents)
        async with kept(replace(member, agent_addresses=addresses), tmp_path) as keeper:
            await until(lambda: keeper.held_at == client.registry.agents)


async def test_every_server_gets_its_share_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "STAY_S", 0.1)
    async with running_registry() as client:
        member = await joined(client, tmp_path)
        port = client.registry.agents.rpartition(":")[2]
        same = {f"127.0.0.1:{port}", f"localhost:{port}"}
        member, seen = replace(member, agent_addresses=tuple(same)), set[str]()
        draw = random.Random(7).random
        monkeypatch.setattr(Keeper, "_look_at", never)  # the registry knows itself by one name only
        keeper = Keeper(member, MembershipFiles(tmp_path), lambda: hello().hello, SystemClock(), draw)
        keeper.start()

        def both() -> bool:
            seen.add(keeper.held_at)
            return same <= seen

        try:
            await until(both)
        finally:
            await keeper.close()


async def never(*_: object) -> None:
    return None


async def test_a_server_that_never_answers_is_left_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    async with silent, running_registry() as client:
        member = await joined(client, tmp_path)
        address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        addresses = (address, client.registry.agents)
        async with kept(replace(member, agent_addresses=addresses), tmp_path) as keeper:
            await until(lambda: keeper.held_at == client.registry.agents)
    for writer in held:
        writer.close()


async def test_a_lease_is_taken_up_again_when_the_registry_comes_back(tmp_path: Path) -> None:
    agent, data = tmp_path / "agent", tmp_path / "data"
    agent.mkdir()
    async with running_registry(data_dir=data) as client:
        member = await joined(client, agent)
        port = int(client.registry.agents.rpartition(":")[2])
        async with kept(member, agent) as keeper:
            await until(lambda: bool(keeper.held_at))
            await client.registry.close()
            await until(lambda: not keeper.held_at)
            async with running_registry(data_dir=data, agent_port=port) as again:
                await until(lambda: bool(keeper.held_at))
                await until(lambda: passing(again))


async def test_servers_that_come_and_go_are_learnt_from_the_lease(tmp_path: Path) -> None:
    async with running_registry() as client:
        member = await joined(client, tmp_path)
        async with kept(member, tmp_path) as keeper:
            await until(lambda: bool(keeper.held_at))
            other = {"agent_port": "8301"}  # with an id, the leader would drop one that is no member
            body = {
                "Node": "s2",
                "Address": "10.0.0.2",
                "Service": {"ID": "consul", "Service": "consul", "Port": 8300, "Meta": other},
            }
            await client.put("/v1/catalog/register", body)
            wanted = {client.registry.agents, "10.0.0.2:8301"}
            await until(lambda: set(keeper.membership.agent_addresses) == wanted)
            await until(lambda: MembershipFiles(tmp_path).load("vm-1") == keeper.membership)
            await client.put("/v1/catalog/deregister", {"Node": "s2"})
            await until(lambda: keeper.membership.agent_addresses == (client.registry.agents,))


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_times_are_within_their_bounds(draw: float) -> None:
    assert 30 <= schedule.renew_at(0, 100, draw) < 50
    assert 0.5 <= schedule.retry_s(100, 99, draw) <= 1.0
    assert schedule.retry_s(1e6, 0, draw) <= schedule.RETRY_S_MAX
    assert schedule.pause_s(0, draw) <= schedule.PAUSE_S_MIN
    assert schedule.pause_s(99, draw) <= schedule.PAUSE_S_MAX
    assert 0 <= schedule.root_pause_s(100, 0, draw) <= 10
