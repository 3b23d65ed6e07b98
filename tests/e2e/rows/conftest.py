"""A small shop for the rows of docs/features.md: everything is said to it by `weft config write`."""

import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.mesh import Member, Mesh, in_thread
from tests.support.processes import free_port
from tests.support.row_app import RowApp, row_app
from tests.support.waiting import until
from weft.cli import run

STORE, SPARE, BUYER = "store", "spare", "buyer"
ZONES = {1: "a", 2: "b", 3: "b"}  # of the store's instances; the buyer is in "a"
SOON_S = 60
Told = dict[str, Any]
Entry = dict[str, Any]


@dataclass
class Answer:
    """What came back to a caller."""

    status: int
    headers: dict[str, str]
    told: Told = field(default_factory=dict)  # what the application says

    @property
    def name(self) -> str:
        """Of the instance that answered; "" where none did."""
        return str(self.told.get("name", ""))


@dataclass
class Shop:
    """`buyer` calls `store`, of which there are three versions, and `spare`, each behind its sidecar."""

    mesh: Mesh
    folder: Path
    apps: dict[str, RowApp]
    members: dict[str, Member]

    @property
    def buyer(self) -> Member:
        return self.members[BUYER]

    def url(self, path: str = "/", service: str = STORE) -> str:
        return f"http://{self.buyer.to(service)}{path}"

    async def ask(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        """One request of its own connection; `x_do` is the header `x-do`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.ClientSession() as session:
            return await self.on(session, path, method, fields)

    async def on(
        self,
        session: aiohttp.ClientSession,
        path: str,
        method: str = "GET",
        fields: dict[str, str] | None = None,
    ) -> Answer:
        timeout = aiohttp.ClientTimeout(total=SOON_S)
        async with session.request(method, self.url(path), headers=fields, timeout=timeout) as answer:
            text = await answer.read()
            is_ours = answer.headers.get("content-type", "").startswith("application/json")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, headers, json.loads(text) if text and is_ours else {})

    async def until(
        self, holds: Callable[[Answer], bool], what: str, path: str = "/", **headers: str
    ) -> None:
        """Until a request is answered so: what was written has reached the sidecars."""
        last: list[Answer] = []

        async def is_so() -> bool:
            last[:] = [await self.ask(path, **headers)]
            return holds(last[0])

        try:
            await until(is_so, what, SOON_S)
        except AssertionError:
            raise AssertionError(f"{what}: the last answer was {last}") from None

    @asynccontextmanager
    async def entries(self, *entries: Entry) -> AsyncIterator[None]:
        """Written in this order by `weft config write`, and deleted again in the opposite one."""
        written: list[Entry] = []
        try:
            for entry in entries:
                await in_thread(self.write, entry)
                written.append(entry)
            yield
        finally:
            for entry in reversed(written):
                name = entry.get("Name", "global" if entry["Kind"] != "mesh" else "mesh")
                await in_thread(self.weft, "config", "delete", "--kind", entry["Kind"], "--name", name)

    def write(self, entry: Entry) -> None:
        path = self.folder / f"{entry['Kind']}.json"
        path.write_text(json.dumps(entry))
        assert "written" in self.weft("config", "write", str(path))

    def weft(self, *arguments: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*arguments, "--http-addr", self.mesh.registry.http])
        assert code == 0, err.getvalue()
        return out.getvalue()


def resolver(**more: Any) -> Entry:
    """Subsets v1, v2, v3; v1 where nothing is said."""
    subsets = {it: {"Filter": f"Service.Meta.version == {it}"} for it in ("v1", "v2", "v3")}
    return {"Kind": "service-resolver", "Name": STORE, "DefaultSubset": "v1", "Subsets": subsets, **more}


def router(*routes: Entry) -> Entry:
    return {"Kind": "service-router", "Name": STORE, "Routes": list(routes)}


def route(match: Entry | None = None, grpc: Entry | None = None, **destination: Any) -> Entry:
    """With the HTTP match, or every request."""
    found = ({"HTTP": match} if match else {}) | ({"GRPC": grpc} if grpc else {})
    return {"Match": found or {"HTTP": {"PathPrefix": "/"}}, "Destination": destination}


def upstream(**config: Any) -> Entry:
    """How the buyer uses the store."""
    overrides = [{"Name": STORE, **config}]
    return {"Kind": "service-defaults", "Name": BUYER, "UpstreamConfig": {"Overrides": overrides}}


NEVER_OUT = upstream(PassiveHealthCheck={"EnforcingConsecutive5xx": 0})
"""Failures on purpose take nobody out of the pool: later tests need them."""


@contextmanager
def _opened(mesh: Mesh, folder: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        names = (*(f"{STORE}-{number}" for number in ZONES), f"{SPARE}-1")
        shop = Shop(mesh, folder, {}, {})
        for name in names:
            app = shop.apps[name] = stack.enter_context(row_app(name))
            service, _, number = name.partition("-")
            meta = {"version": f"v{number}"}
            locality = {"Region": "r", "Zone": ZONES.get(int(number), "b")}
            member = shop.members[name] = mesh.member(service, int(number), app_port=app.port)
            mesh.enrol(member, {}, Meta=meta, Locality=locality)
            mesh.start_sidecar(member)
        buyer = shop.members[BUYER] = mesh.member(BUYER, 1, (STORE, SPARE), free_port())
        ports = buyer.upstreams | {"egress": free_port()}
        proxy = {
            "Config": {"egress_bind_port": ports["egress"]},
            "Upstreams": [
                {"DestinationName": name, "LocalBindPort": port} for name, port in buyer.upstreams.items()
            ],
        }
        mesh.enrol(buyer, proxy, Locality={"Region": "r", "Zone": "a"})
        mesh.start_sidecar(buyer)
        for service in (STORE, SPARE):
            mesh.registry.intend(BUYER, service, "allow")
        for name in names:
            mesh.wait(shop.members[name])
        mesh.wait(buyer)
        buyer.upstreams["egress"] = ports["egress"]
        yield shop


@pytest.fixture(scope="session")
def open_shop(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with _opened(mesh, tmp_path_factory.mktemp("shop")) as found:
        yield found


@pytest.fixture
async def shop(open_shop: Shop) -> AsyncIterator[Shop]:
    """As it is after a start: every instance is well, and nothing is written."""
    for app in open_shop.apps.values():
        app.status, app.well = 200, True
        app.seen.clear()
    await open_shop.until(lambda it: it.status == 200, "the store answers")

    async def all_in() -> bool:
        return not await in_thread(open_shop.buyer.metric, "weft_ejected_instances")

    await until(all_in, "nobody is ejected any more", 2 * SOON_S)
    yield open_shop
