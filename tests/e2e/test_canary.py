"""`weft canary` through real sidecars: a version that is good, one that fails, one that is slow."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.mesh import Member, Mesh, in_thread
from tests.support.versions import Version, application, calling
from tests.support.waiting import until

pytestmark = pytest.mark.long

SERVICE, CALLER = "sale", "shopper"
QUICK = ("--steps", "10,50,100", "--interval", "2s", "--min-requests", "10", "--sticky", "header:x-user")
WAIT_S = 90


@dataclass
class Shop:
    """A caller, and a service whose second version behaves as a test says."""

    mesh: Mesh
    caller: Member
    v1: Version
    v2: Version

    @property
    def url(self) -> str:
        return f"http://{self.caller.to(SERVICE)}/"

    async def weft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "weft", *arguments, "--http-addr", self.mesh.registry.http]
        done: subprocess.CompletedProcess[str] = await in_thread(
            lambda: subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        )
        return done

    async def ask(self, path: str) -> Any:
        return await in_thread(self.mesh.registry._ask, "GET", path)

    async def canary(self) -> Any:
        (found,) = await self.ask(f"mesh/canaries?service={SERVICE}")
        return found


def version(mesh: Mesh, number: int, app: Version) -> Member:
    member = mesh.member(SERVICE, number, app_port=app.port)
    mesh.enrol(member, {}, Meta={"version": app.name})
    mesh.start_sidecar(member)
    return member


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Iterator[Shop]:
    subsets = {name: {"Filter": f"Service.Meta.version == {name}"} for name in ("v1", "v2")}
    resolver = {"Kind": "service-resolver", "Name": SERVICE, "DefaultSubset": "v1", "Subsets": subsets}
    with ExitStack() as stack:
        apps = [stack.enter_context(application(Version(name))) for name in ("v1", "v2")]
        members = [version(mesh, number, app) for number, app in enumerate(apps, 1)]
        caller = mesh.add(CALLER, upstreams=[SERVICE], upstream_config={"protocol": "http"}, app_port=1)
        mesh.registry.intend(CALLER, SERVICE, "allow")
        mesh.wait(*members)
        mesh.registry._ask("PUT", "config", resolver)
        mesh.wait(caller)
        yield Shop(mesh, caller, *apps)


@pytest.fixture(autouse=True)
def anew(shop: Shop) -> Iterator[None]:
    """Each test begins with a good second version that nobody calls."""
    shop.v2.status, shop.v2.delay_s = 200, 0.0
    yield
    registry = shop.mesh.registry
    if rows := registry._ask("GET", f"mesh/canaries?service={SERVICE}"):
        if rows[0]["Status"]["Phase"] in ("running", "paused"):
            registry._ask("PUT", f"mesh/canary/abort/{SERVICE}")
        registry._ask("DELETE", f"config/service-canary/{SERVICE}")
    registry._ask("DELETE", f"config/service-splitter/{SERVICE}")


def only(calls: Any, name: str) -> Any:
    return lambda: calls.latest(60) == {name}


async def test_a_good_version_gets_all_calls_and_users_move_one_way(shop: Shop) -> None:
    async with calling(shop.url) as calls:
        await until(only(calls, "v1"), "calls to v1", 30)
        done = await shop.weft("canary", "start", SERVICE, "--to", "v2", *QUICK, "--wait")
        assert done.returncode == 0, done.stderr
        await until(only(calls, "v2"), "all calls go to v2", 30)
        graph = await shop.ask(f"mesh/graph?service={SERVICE}&window=60s")
    assert calls.failed == 0
    for user, versions in calls.by_user.items():
        assert versions == sorted(versions), f"{user} went back: {versions}"
    weights = [it.get("Weight", 0) for it in (await shop.canary())["Status"]["History"]]
    assert weights == [0, 10, 50, 100, 100]
    (edge,) = [it for it in graph["Edges"] if it["Source"] == CALLER]
    assert {it["Subset"] for it in edge["Targets"]} == {"v1", "v2"}


async def test_a_version_that_fails_is_taken_back_by_itself(shop: Shop) -> None:
    shop.v2.status = 500
    async with calling(shop.url) as calls:
        await until(only(calls, "v1"), "calls to v1", 30)
        done = await shop.weft(
            "canary", "start", SERVICE, "--to", "v2", *QUICK, "--interval", "60s", "--wait"
        )
        assert done.returncode == 1
        assert f"canary of {SERVICE} rolled-back" in done.stderr
        assert "calls failed (100.00%), allowed are 1 %" in done.stderr
        await until(only(calls, "v1"), "all calls go to v1 again", 30)
        assert 10 <= calls.failed < len(calls.answers) / 4
    weights = [it.get("Weight", 0) for it in (await shop.canary())["Status"]["History"]]
    assert weights == [0, 10, 0], "it was found out at the first step"


async def test_a_version_that_is_slow_is_taken_back_by_its_p99(shop: Shop) -> None:
    shop.v2.delay_s = 0.3
    limit = ("--interval", "60s", "--max-p99", "250ms", "--wait")
    async with calling(shop.url) as calls:
        await until(only(calls, "v1"), "calls to v1", 30)
        done = await shop.weft("canary", "start", SERVICE, "--to", "v2", *QUICK, *limit)
        assert done.returncode == 1
        assert "took longer than 250ms" in done.stderr
        await until(only(calls, "v1"), "all calls go to v1 again", 30)
    assert calls.failed == 0


async def test_an_operator_s_abort_brings_the_splitter_back(shop: Shop) -> None:
    splitter = {
        "Kind": "service-splitter",
        "Name": SERVICE,
        "Splits": [{"Weight": 100, "ServiceSubset": "v1", "ResponseHeaders": {"Set": {"x-side": "old"}}}],
    }
    await in_thread(shop.mesh.registry._ask, "PUT", "config", splitter)
    async with calling(shop.url) as calls:
        steps = ("--steps", "60,100", "--interval", "1h")
        done = await shop.weft("canary", "start", SERVICE, "--to", "v2", *steps)
        assert done.returncode == 0, done.stderr
        await until(lambda: calls.latest(60) == {"v1", "v2"}, "calls are divided", 30)
        done = await shop.weft("canary", "abort", SERVICE, "--reason", "wrong build")
        assert done.returncode == 0, done.stderr
        await until(only(calls, "v1"), "all calls go to v1 again", 30)
    assert calls.failed == 0
    after = await shop.ask(f"config/service-splitter/{SERVICE}")
    assert {key: after[key] for key in splitter} == splitter
    assert (await shop.canary())["Status"]["History"][-1]["Reason"] == "wrong build"
    told = await shop.weft("canary", "status", SERVICE, "--format", "json")
    assert json.loads(told.stdout)[0]["Status"]["Phase"] == "aborted"


async def test_without_calls_nothing_is_promoted(shop: Shop) -> None:
    patience = ("--interval", "1s", "--patience", "2s", "--wait")
    done = await shop.weft("canary", "start", SERVICE, "--to", "v2", *patience)
    assert done.returncode == 1
    assert "0 of 100 calls that are needed" in done.stderr
    assert await asyncio.to_thread(splits, shop.mesh) == []


def splits(mesh: Mesh) -> list[str]:
    return [
        it["Name"] for it in mesh.registry._ask("GET", "config/service-splitter") if it["Name"] == SERVICE
    ]
