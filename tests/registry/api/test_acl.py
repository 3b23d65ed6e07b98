"""`/v1/acl/*` by Consul's client, and what every route says to whom."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import consul
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.acl.access import LABELLED, PLAIN, Access
from registry.api.permission import How
from registry.api.route import Route
from registry.api.routes import ROUTES
from registry.identity.management import ManagementToken
from registry.process import AclSettings
from tests.support.registry import Client, running_registry


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    async with running_registry(acl=AclSettings()) as found:
        yield found


def py_consul(client: Client, token: str = "") -> Any:
    host, _, port = client.registry.http.partition(":")
    return consul.Consul(host=host, port=int(port), token=token or None)


async def bootstrap(client: Client) -> str:
    _, _, body = await client.call("PUT", "/v1/acl/bootstrap")
    secret = json.loads(body)["SecretID"]
    assert isinstance(secret, str)
    return secret


async def make(client: Client, management: str, path: str, body: object) -> Any:
    status, _, answer = await client.call("PUT", path, body, X_Consul_Token=management)
    assert status == 200, answer
    return json.loads(answer)


async def test_without_access_control_the_list_is_not_there(client: Client) -> None:
    for path in ("/v1/acl/tokens", "/v1/acl/policies", "/v1/acl/token/self"):
        assert (await client.call("GET", path))[::2] == (401, b"ACL support disabled")
    assert (await client.call("PUT", "/v1/acl/bootstrap"))[0] == 401


async def test_the_first_token_is_made_once(guarded: Client) -> None:
    secret = await bootstrap(guarded)
    status, _, body = await guarded.call("PUT", "/v1/acl/bootstrap")
    assert status == 403
    assert body.startswith(b"Permission denied: ACL bootstrap no longer allowed (reset index: ")
    status, headers, _ = await guarded.call("GET", "/v1/acl/tokens", X_Consul_Token=secret)
    assert (status, headers["X-Consul-Default-ACL-Policy"]) == (200, "deny")


async def test_the_operators_token_is_known_before_the_leader_has_written_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An agent that starts together with the servers asks what its token may do."""
    monkeypatch.setattr("registry.operator.duties.LOOK_S", 3600.0)
    management = ManagementToken("0e8a1e0b-7a4f-4c3b-9d6e-1f2a3b4c5d6e")
    headers = {"X_Consul_Token": management.secret}
    async with running_registry(acl=AclSettings(management=management)) as client:
        listed = json.loads((await client.call("GET", "/v1/acl/tokens", **headers))[2])
        status, _, body = await client.call("GET", "/v1/acl/token/self?expanded", **headers)
        query = {"Name": "q", "Token": management.secret, "Service": {"Service": "web"}}
        await client.call("POST", "/v1/query", query, **headers)
        executed = await client.call("GET", "/v1/query/q/execute")
    assert executed[0] == 200, "it may own a prepared query"
    assert management.accessor_id not in {row["AccessorID"] for row in listed}
    assert status == 200, body
    shown = json.loads(body)
    assert shown["AccessorID"] == management.accessor_id
    assert [row["Name"] for row in shown["ExpandedPolicies"]] == ["global-management"]


async def test_py_consul_administers_the_list(guarded: Client) -> None:
    management = await bootstrap(guarded)

    def story() -> None:
        acl = py_consul(guarded, management).acl
        rules = {"service_prefix": {"": {"policy": "read"}}, "node_prefix": {"": {"policy": "read"}}}
        policy = acl.policy.create("reader", rules=rules, description="reads")
        assert acl.policy.read(policy["ID"])["Rules"] == json.dumps(rules)
        assert "reader" in {row["Name"] for row in acl.policy.list()}
        role = acl.role.create("readers", policies_id=[policy["ID"]])
        assert acl.role.read(role["ID"])["Policies"] == [{"ID": policy["ID"], "Name": "reader"}]
        token = acl.token.create(policies_name=["reader"], description="for tests")
        assert acl.token.read(token["AccessorID"])["SecretID"] == token["SecretID"]
        clone = acl.token.clone(token["AccessorID"], description="again")
        assert clone["SecretID"] != token["SecretID"]
        assert {token["AccessorID"], clone["AccessorID"]} <= {row["AccessorID"] for row in acl.token.list()}
        mine = py_consul(guarded, token["SecretID"])
        assert mine.acl.token.read_self()["AccessorID"] == token["AccessorID"]
        assert "consul" in mine.catalog.services()[1]
        with pytest.raises(consul.ACLPermissionDenied, match=r"lacks permission 'service:write' on"):
            mine.agent.service.register("web")
        assert acl.token.delete(token["AccessorID"])
        with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
            mine.catalog.services()
        assert acl.role.delete(role["ID"])
        assert acl.policy.delete(policy["ID"])

    await asyncio.to_thread(story)


async def test_a_service_identity_may_be_that_service_and_no_other(guarded: Client) -> None:
    management = await bootstrap(guarded)
    token = await make(guarded, management, "/v1/acl/token", {"ServiceIdentities": [{"ServiceName": "web"}]})
    secret = token["SecretID"]
    web = {"Name": "web", "Port": 80, "Connect": {"SidecarService": {}}}
    register = "/v1/agent/service/register"
    assert (await guarded.call("PUT", register, web, X_Consul_Token=secret))[0] == 200
    for other in ({"Name": "db"}, {"Name": "db", "ID": "web"}):
        assert (await guarded.call("PUT", register, other, X_Consul_Token=secret))[0] == 403
    await make(guarded, management, "/v1/acl/policy", {"Name": "x", "Rules": ""})
    assert (await guarded.call("PUT", register, {"Name": "db"}, X_Consul_Token=management))[0] == 200
    # Not by taking the id of another service either.
    assert (await guarded.call("PUT", register, {"Name": "web", "ID": "db"}, X_Consul_Token=secret))[0] == 403
    assert (await guarded.call("PUT", "/v1/agent/service/deregister/db", X_Consul_Token=secret))[0] == 403
    leaf = "/v1/agent/connect/ca/leaf/"
    assert (await guarded.call("GET", leaf + "web", X_Consul_Token=secret))[0] == 200
    assert (await guarded.call("GET", leaf + "db", X_Consul_Token=secret))[0] == 403


async def test_lists_leave_out_what_may_not_be_read_and_say_so(guarded: Client) -> None:
    management = await bootstrap(guarded)
    for name in ("web", "db"):
        await guarded.call("PUT", "/v1/agent/service/register", {"Name": name}, X_Consul_Token=management)
    rules = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }'
    await make(guarded, management, "/v1/acl/policy", {"Name": "web-only", "Rules": rules})
    token = await make(guarded, management, "/v1/acl/token", {"Policies": [{"Name": "web-only"}]})
    status, headers, body = await guarded.call(
        "GET", "/v1/catalog/services", X_Consul_Token=token["SecretID"]
    )
    assert (status, body) == (200, b'{"web":[]}')
    assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"
    status, headers, body = await guarded.call("GET", "/v1/catalog/services")
    assert (status, body) == (200, b"{}")
    assert "X-Consul-Results-Filtered-By-ACLs" not in headers
    _, headers, _ = await guarded.call("GET", "/v1/catalog/services", X_Consul_Token=management)
    assert "X-Consul-Results-Filtered-By-ACLs" not in headers
    _, _, body = await guarded.call("GET", "/v1/health/service/db", X_Consul_Token=token["SecretID"])
    assert body == b"[]"


async def test_a_changed_policy_is_in_force_at_the_next_request(guarded: Client) -> None:
    management = await bootstrap(guarded)
    policy = await make(guarded, management, "/v1/acl/policy", {"Name": "p", "Rules": 'operator = "read"'})
    token = await make(guarded, management, "/v1/acl/token", {"Policies": [{"Name": "p"}]})
    path, secret = "/v1/operator/autopilot/configuration", token["SecretID"]
    assert (await guarded.call("GET", path, X_Consul_Token=secret))[0] == 200
    change = {"Name": "p", "Rules": 'operator = "deny"'}
    await make(guarded, management, f"/v1/acl/policy/{policy['ID']}", change)
    status, _, body = await guarded.call("GET", path, X_Consul_Token=secret)
    assert (status, body.decode()) == (
        403,
        f"Permission denied: token with AccessorID '{token['AccessorID']}' lacks permission 'operator:read'",
    )


async def test_trap_26_a_parked_query_answers_by_the_rules_of_its_end(guarded: Client) -> None:
    management = await bootstrap(guarded)
    rules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
    await make(guarded, management, "/v1/acl/policy", {"Name": "p", "Rules": rules})
    token = await make(guarded, management, "/v1/acl/token", {"Policies": [{"Name": "p"}]})
    secret = token["SecretID"]
    _, headers, _ = await guarded.call("GET", "/v1/health/service/web", X_Consul_Token=secret)
    parked = asyncio.create_task(
        guarded.call(
            "GET", f"/v1/health/service/web?wait=20s&index={headers['X-Consul-Index']}", X_Consul_Token=secret
        )
    )
    await guarded.call("DELETE", f"/v1/acl/token/{token['AccessorID']}", X_Consul_Token=management)
    await guarded.call("PUT", "/v1/agent/service/register", {"Name": "web"}, X_Consul_Token=management)
    assert (await parked)[::2] == (403, b"ACL not found")


async def test_secrets_are_shown_only_to_who_may_write_tokens(guarded: Client) -> None:
    management = await bootstrap(guarded)
    await make(guarded, management, "/v1/acl/policy", {"Name": "p", "Rules": 'acl = "read"'})
    token = await make(guarded, management, "/v1/acl/token", {"Policies": [{"Name": "p"}]})
    _, _, body = await guarded.call("GET", "/v1/acl/tokens", X_Consul_Token=token["SecretID"])
    assert token["SecretID"].encode() not in body
    assert management.encode() not in body
    assert b"<hidden>" in body
    _, _, body = await guarded.call("GET", "/v1/acl/token/self", X_Consul_Token=token["SecretID"])
    assert token["SecretID"].encode() in body


async def test_a_login_by_jwt_gives_what_the_rules_bind_and_a_logout_ends_it(guarded: Client) -> None:
    management = await bootstrap(guarded)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    config = {"JWTValidationPubKeys": [pem], "JWTSupportedAlgs": ["ES256"], "ClaimMappings": {"sub": "name"}}
    method = {"Name": "ci", "Type": "jwt", "MaxTokenTTL": "1h", "Config": config}
    await make(guarded, management, "/v1/acl/auth-method", method)
    rule = {"AuthMethod": "ci", "BindType": "service", "BindName": "${value.name}"}
    await make(guarded, management, "/v1/acl/binding-rule", rule)
    bearer = jwt.encode({"sub": "web", "exp": time.time() + 600}, key, algorithm="ES256")

    def story() -> None:
        client = py_consul(guarded)
        token = client.acl.login("ci", bearer, {"job": "7"})
        assert token["ServiceIdentities"] == [{"ServiceName": "web"}]
        assert token["Description"] == "token created via login: job=7"
        assert token["ExpirationTime"]
        mine = py_consul(guarded, token["SecretID"])
        assert mine.agent.service.register("web")
        assert client.acl.logout(token["SecretID"])
        with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
            mine.agent.services()
        with pytest.raises(consul.ACLPermissionDenied, match="not signed by a key"):
            client.acl.login("ci", bearer[:-4] + "AAAA")

    await asyncio.to_thread(story)
    status, _, _ = await guarded.call("POST", "/v1/acl/logout", X_Consul_Token=management)
    assert status == 403  # no login has made it


# The matrix: every route against every kind of token. A route without an expectation fails.


@dataclass(frozen=True)
class Tokens:
    management: str
    denied: str  # by an explicit "deny" for everything
    other: str  # another service's identity
    expired: str


async def tokens(client: Client) -> Tokens:
    management = await bootstrap(client)
    everything = "\n".join(
        [f'{name} = "deny"' for name in ("acl", "keyring", "mesh", "operator", "peering")]
        + [
            f'{name}_prefix "" {{ policy = "deny" }}'
            for name in ("agent", "event", "key", "node", "query", "service", "session")
        ]
    )
    await make(client, management, "/v1/acl/policy", {"Name": "nothing", "Rules": everything})
    denied = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "nothing"}]})
    other = await make(client, management, "/v1/acl/token", {"ServiceIdentities": [{"ServiceName": "other"}]})
    ended = await make(client, management, "/v1/acl/token", {"ServiceIdentities": [{"ServiceName": "web"}]})
    await client.call("DELETE", f"/v1/acl/token/{ended['AccessorID']}", X_Consul_Token=management)
    return Tokens(management, denied["SecretID"], other["SecretID"], ended["SecretID"])


# What a request needs to get as far as its permission, where the path alone does not.
BODIES: dict[str, object] = {
    "/v1/agent/connect/authorize": {
        "Target": "web",
        "ClientCertURI": "spiffe://x.consul/ns/default/dc/dc1/svc/api",
    },
    "/v1/agent/token/:type": {"Token": ""},
    "/v1/agent/check/register": {"Name": "c", "TTL": "10s"},
    "/v1/agent/check/update/:id": {"Status": "passing"},
    "/v1/agent/service/register": {"Name": "web"},
    "/v1/catalog/deregister": {"Node": "web"},
    "/v1/catalog/register": {"Node": "web", "Address": "10.1.1.1"},
    "/v1/txn": [{"KV": {"Verb": "set", "Key": "web"}}],
    "/v1/coordinate/update": {"Node": "web", "Coord": {"Vec": [0] * 8}},
    "/v1/query": {"Name": "web", "Service": {"Service": "web"}},
    "/v1/query/:id": {"Name": "web", "Service": {"Service": "web"}},
    "/v1/mesh/chaos/experiment": {"Name": "exp", "Service": "web", "Fault": {"Reset": True}},
    "/v1/config": {"Kind": "service-defaults", "Name": "web"},
    "/v1/join-token": {"Node": "web"},
    "/v1/connect/intentions": {"SourceName": "a", "DestinationName": "web", "Action": "allow"},
    "/v1/connect/intentions/:id": {"Action": "allow"},
    "/v1/connect/intentions/exact": {"Action": "allow"},
    "/v1/internal/acl/authorize": [{"Resource": "acl", "Access": "write"}],
}
QUERIES = {
    "/v1/agent/maintenance": "?enable=false",
    "/v1/agent/service/maintenance/:id": "?enable=false",
    "/v1/connect/intentions/check": "?source=a&destination=web",
    "/v1/connect/intentions/exact": "?source=a&destination=web",
    "/v1/mesh/tap/:service": "?seconds=0.01",
    "/v1/agent/monitor": "?seconds=0.01",
    "/v1/agent/metrics/stream": "?seconds=0.01",
    "/v1/connect/intentions/match": "?by=destination&name=web",
    "/v1/internal/dns": "?dns=AAABAAABAAAAAAAAA3dlYgdzZXJ2aWNlBmNvbnN1bAAAAQAB",  # web.service.consul A
}
NAMES = {
    "/v1/agent/check/": "service:web",
    "/v1/config/:kind": "service-defaults/web",
    "/v1/health/state/:state": "any",
}
IDS: dict[str, str] = {}  # of what a test has made: path -> name
ANSWERS_ALL = {"/v1/acl/token/self", "/v1/internal/acl/authorize"}  # about the caller's own token


MADE: dict[str, str] = {}
"""Names of what a test has made, by the beginning of the path: where Consul lets everybody be told that a
thing is not there."""


async def make_things(client: Client, management: str) -> None:
    made = await make(client, management, "/v1/session/create", {})
    MADE.update({f"/v1/session/{verb}/": made["ID"] for verb in ("destroy", "renew", "info")})
    headers = {"X_Consul_Token": management}
    _, _, body = await client.call("POST", "/v1/query", {**BODIES["/v1/query"], "Name": "made"}, **headers)  # type: ignore[dict-item]
    MADE["/v1/query/"] = json.loads(body)["ID"]


def path_of(route: Route) -> str:
    prefix, colon, _ = route.path.partition(":")
    if route.path in IDS:
        return prefix + IDS[route.path]
    found = [name for start, name in (MADE | NAMES).items() if route.path.startswith(start)]
    return prefix + ((found or ["web"])[0] if colon else "") + QUERIES.get(route.path, "")


async def ask(client: Client, route: Route, token: str) -> tuple[int, bytes]:
    headers = {"X_Consul_Token": token} if token else {}
    body = BODIES.get(route.path) if route.method != "GET" else None
    if body is None and route.method == "PUT" and route.guard.how is not How.INSIDE:
        body = {}
    status, _, answer = await client.call(route.method, path_of(route), body, **headers)
    return status, answer


GUARDED = [route for route in ROUTES if route.guard.how is not How.OPEN]


async def test_every_route_refuses_who_may_not(guarded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, an explicit deny, another service's token, and one that has ended."""
    who = await tokens(guarded)
    register = {"Name": "web", "Check": {"TTL": "10s"}}
    await guarded.call("PUT", "/v1/agent/service/register", register, X_Consul_Token=who.management)
    await guarded.call("PUT", "/v1/config", BODIES["/v1/config"], X_Consul_Token=who.management)
    await make_things(guarded, who.management)
    exact = f"/v1/connect/intentions/exact{QUERIES['/v1/connect/intentions/exact']}"
    await guarded.call("PUT", exact, {"Action": "deny"}, X_Consul_Token=who.management)
    _, _, made = await guarded.call("GET", exact, X_Consul_Token=who.management)
    monkeypatch.setitem(IDS, "/v1/connect/intentions/:id", json.loads(made)["ID"])
    for route in GUARDED:
        at = f"{route.method} {route.path}"
        assert (await ask(guarded, route, who.expired)) == (403, b"ACL not found"), at
        assert (await ask(guarded, route, "no such token")) == (403, b"ACL not found"), at
        for token in ("", who.denied):
            status, body = await ask(guarded, route, token)
            if route.guard.how is How.SIEVED:
                shown = body in (b"[]", b"{}", b"null") or route.path == "/v1/agent/members"
                shown = shown or (route.path == "/v1/internal/dns" and body[6:8] == b"\0\0")  # no records
                assert (status, shown) == (200, True) or status == 403, (at, body)
            elif route.path in ANSWERS_ALL:
                assert status == 200, (at, body)
            elif route.path == "/v1/acl/logout":
                assert status == 403, (at, body)
            else:
                assert status == 403, (at, status, body)
                assert body.startswith(b"Permission denied: "), (at, body)
        if route.method != "GET" and route.guard.access is not Access.READ:
            assert (await ask(guarded, route, who.other))[0] == 403, at


async def test_every_route_lets_management_through(guarded: Client) -> None:
    """As far as permission goes; what it then says is another matter."""
    who = await tokens(guarded)
    await make_things(guarded, who.management)
    last = [route for route in GUARDED if "deregister" in route.path or route.method == "DELETE"]
    for route in [*(route for route in GUARDED if route not in last), *last]:
        if route.path in ("/v1/acl/logout", "/v1/operator/raft/transfer-leader", "/v1/snapshot"):
            continue  # would end the token, or the story
        status, body = await ask(guarded, route, who.management)
        assert status not in (401, 403), (route.method, route.path, body)


def everything(access: str) -> str:
    """Rules that grant one access to all there is."""
    plain = [f'{name} = "{access}"' for name in PLAIN]
    intentions = f'intentions = "{access}"'
    labelled = [
        f'{name}_prefix "" {{ policy = "{access}" {intentions if name == "service" else ""} }}'
        for name in LABELLED
    ]
    return "\n".join([*plain, *labelled])


async def with_rules(client: Client, management: str, name: str, rules: str) -> str:
    await make(client, management, "/v1/acl/policy", {"Name": name, "Rules": rules})
    token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": name}]})
    secret = token["SecretID"]
    assert isinstance(secret, str)
    return secret


ENDS = ("/v1/acl/logout", "/v1/operator/raft/transfer-leader", "/v1/snapshot")  # the token, or the story
CHANGES_NOTHING = {
    *("/v1/acl/templated-policy/preview/:name", "/v1/internal/acl/authorize"),
    "/v1/discovery-chain/:service",
}
"""Reads that take a body."""


async def test_reading_everything_writes_nothing(guarded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    who = await tokens(guarded)
    await make_things(guarded, who.management)
    register = {"Name": "web", "Check": {"TTL": "10s"}}
    await guarded.call("PUT", "/v1/agent/service/register", register, X_Consul_Token=who.management)
    await guarded.call("PUT", "/v1/config", BODIES["/v1/config"], X_Consul_Token=who.management)
    exact = f"/v1/connect/intentions/exact{QUERIES['/v1/connect/intentions/exact']}"
    await guarded.call("PUT", exact, {"Action": "deny"}, X_Consul_Token=who.management)
    _, _, made = await guarded.call("GET", exact, X_Consul_Token=who.management)
    monkeypatch.setitem(IDS, "/v1/connect/intentions/:id", json.loads(made)["ID"])
    reader = await with_rules(guarded, who.management, "reader", everything("read"))
    for route in GUARDED:
        status, body = await ask(guarded, route, reader)
        writes = (route.changes or route.gives_secrets) and route.path not in CHANGES_NOTHING
        assert (status == 403) == writes, (route.method, route.path, status, body)


async def test_writing_everything_may_do_everything(guarded: Client) -> None:
    who = await tokens(guarded)
    await make_things(guarded, who.management)
    writer = await with_rules(guarded, who.management, "writer", everything("write"))
    last = [route for route in GUARDED if "deregister" in route.path or route.method == "DELETE"]
    for route in [*(route for route in GUARDED if route not in last), *last]:
        if route.path not in ENDS:
            status, body = await ask(guarded, route, writer)
            assert status not in (401, 403), (route.method, route.path, body)
