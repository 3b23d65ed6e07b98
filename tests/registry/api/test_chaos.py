"""`/v1/mesh/chaos/*` and what the leader does: experiments begin, are looked at, and end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from registry.audit.settings import AuditSettings
from registry.measurements.tally import Edge, Tally
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.registry import Client, running_registry, until

ABORT: dict[str, Any] = {"Abort": {"HTTPStatus": 503}, "Percent": 10}
INBOUND = Edge(True, "web", "orders")


def body(name: str = "exp1", **fields: Any) -> dict[str, Any]:
    return {"Name": name, "Service": "orders", "Fault": ABORT, **fields}


async def start(client: Client, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await client.put("/v1/mesh/chaos/experiment", body(**fields)))
    return found


async def one(client: Client, name: str = "exp1") -> dict[str, Any]:
    found: dict[str, Any] = next(
        it for it in await client.get("/v1/mesh/chaos/experiments") if it["Name"] == name
    )
    return found


async def test_an_experiment_is_begun_shown_and_stopped(client: Client) -> None:
    made = await start(client, Duration="10m", StopIf=["error-rate > 5%"])
    assert made["Fault"] == ABORT | {"Name": "exp1", "EndsAt": made["EndsAt"]}
    found = await one(client)
    assert (found["Status"], found["StopIf"], found["Owner"]) == ("running", ["error-rate>5%"], "")
    (observed,) = found["Observed"]
    assert (observed["Value"], observed["Requests"]) == (None, 0)
    assert observed["Told"] == "orders: 0 calls in 10 s are too few to judge"
    status, _, answer = await client.call("DELETE", "/v1/mesh/chaos/experiment/exp1")
    assert (status, json.loads(answer)) == (200, {"Stopped": ["exp1"], "Denied": []})
    found = await one(client)
    assert (found["Status"], found["Reason"], found["Observed"]) == ("ended", "stopped", [])
    status, _, answer = await client.call("DELETE", "/v1/mesh/chaos/experiment/exp1")
    assert (status, answer) == (404, b"no experiment 'exp1' runs; see: weft chaos list")


async def test_five_minutes_where_nothing_is_said(client: Client) -> None:
    await start(client)
    row = client.registry.log.view().experiments.get(("exp1",))
    assert row is not None
    assert abs(row.ends_ms - row.started_ms - 300_000) < 1000


async def test_what_cannot_be_is_refused_with_its_place(client: Client) -> None:
    for fields, says in (
        ({"Duration": "25h"}, b"Duration: must be from 0s to 24h"),
        ({"StopIf": ["error-rate"]}, b"StopIf[0]: 'error-rate': write error-rate>5%"),
        ({"Fault": {}}, b"Fault: give Abort, Delay, BytesPerSecond or Reset"),
        ({"Fault": None}, b"Fault: is missing"),
        ({"Fault": {**ABORT, "EndsAt": "2999-01-01T00:00:00Z"}}, b"Fault: its Name and EndsAt follow"),
        ({"Fault": {"Abort": {"HTTPStatus": 99}}}, b"Fault.Abort.HTTPStatus: must be from 200 to 599"),
        ({"Service": ""}, b"Service"),
        ({"Nonsense": 1}, b'invalid config key "Nonsense"'),
    ):
        status, _, answer = await client.call("PUT", "/v1/mesh/chaos/experiment", body(**fields))
        assert (status, says in answer) == (400, True), (fields, answer)
    await start(client)
    status, _, answer = await client.call("PUT", "/v1/mesh/chaos/experiment", body())
    assert (status, b"runs already" in answer) == (409, True)


async def test_all_are_stopped_at_once(client: Client) -> None:
    for name in ("exp1", "exp2", "exp3"):
        await start(client, name=name)
    status, _, answer = await client.call("DELETE", "/v1/mesh/chaos/experiments")
    assert (status, json.loads(answer)) == (200, {"Stopped": ["exp1", "exp2", "exp3"], "Denied": []})
    status, _, answer = await client.call("DELETE", "/v1/mesh/chaos/experiments")
    assert json.loads(answer) == {"Stopped": [], "Denied": []}


async def test_each_has_to_do_with_services_that_the_token_may_write() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        rules = 'service "orders" { policy = "write" } service "audit" { policy = "read" }'
        await make(client, management, "/v1/acl/policy", {"Name": "mine", "Rules": rules})
        token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "mine"}]})
        mine, admin = {"X_Consul_Token": token["SecretID"]}, {"X_Consul_Token": management}

        async def put(name: str, service: str, headers: dict[str, str]) -> int:
            what = body(name, Service=service)
            return (await client.call("PUT", "/v1/mesh/chaos/experiment", what, **headers))[0]

        assert await put("a", "audit", mine) == 403
        for name, service in (("a", "audit"), ("o", "orders"), ("u", "users")):
            assert await put(name, service, admin) == 200
        listed = json.loads((await client.call("GET", "/v1/mesh/chaos/experiments", **mine))[2])
        assert [it["Name"] for it in listed] == ["a", "o"], "those that may be read"
        assert (await client.call("DELETE", "/v1/mesh/chaos/experiment/a", **mine))[0] == 403
        answer = json.loads((await client.call("DELETE", "/v1/mesh/chaos/experiments", **mine))[2])
        assert answer == {"Stopped": ["o"], "Denied": ["a", "u"]}


@asynccontextmanager
async def audited(path: Path) -> AsyncIterator[Client]:
    async with running_registry(audit=AuditSettings(path)) as client:
        yield client


async def test_the_leader_ends_those_whose_time_is_over_and_every_step_is_audited(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.log"
    async with audited(path) as client:
        await start(client, Duration="300ms")
        row = client.registry.log.view().experiments
        await until(lambda: not client.registry.log.view().experiments.get(("exp1",)).runs)  # type: ignore[union-attr]
        assert len(row)
        assert (await one(client))["Reason"] == "its time was over"
        await start(client)
        await client.call("DELETE", "/v1/mesh/chaos/experiments")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    told = [(it["operation"], it["outcome"]) for it in lines if "chaos" in it["operation"]]
    assert told == [
        ("PUT /v1/mesh/chaos/experiment", "done"),
        ("chaos end", "done"),
        ("PUT /v1/mesh/chaos/experiment", "done"),
        ("DELETE /v1/mesh/chaos/experiments", "done"),
    ]
    end = next(it for it in lines if it["operation"] == "chaos end")
    assert (end["resource"], end["reason"], end["detail"]) == (
        "exp1", "its time was over", {"service": "orders"},
    )  # fmt: skip


async def test_harm_ends_it_before_and_failures_on_purpose_are_no_harm(client: Client) -> None:
    await start(client, StopIf=["error-rate>5%"])
    await start(client, name="exp2", StopIf=["web p99>1s"])

    def measured(tally: Tally) -> None:
        client.registry.measuring.take(iter([(INBOUND, tally)]))

    measured(Tally(100, 50, injected=50))
    found = await one(client)
    assert found["Observed"][0]["Told"] == "error-rate of orders is 0% (limit: error-rate>5%)"
    measured(Tally(100, 60, injected=50))
    await until(lambda: not client.registry.log.view().experiments.get(("exp1",)).runs)  # type: ignore[union-attr]
    found = await one(client)
    assert found["Reason"].startswith("error-rate of orders is 10%"), found
    assert (await one(client, "exp2"))["Status"] == "running"
