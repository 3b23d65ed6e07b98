"""The verbs that Consul users know, against a real registry."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dev import Dev, running_dev
from weft.cli import run
from weft.credential import load

Weft = Callable[..., str]


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1") as found:
        yield found


@pytest.fixture
def weft(dev: Dev, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: str, code: int = 0, address: str = dev.http) -> str:
        assert run([*arguments, "--http-addr", address]) == code
        told = capsys.readouterr()
        return told.out if code == 0 else told.out + told.err

    return call


def test_services_are_registered_found_and_removed(weft: Weft, tmp_path: Path) -> None:
    credential = tmp_path / "credential.json"
    weft(
        "services",
        "register",
        "--name",
        "web",
        "--port",
        "8080",
        "--sidecar",
        "--credential",
        str(credential),
    )
    assert load(credential).instance_key == "dc1/n1/web"
    assert "web-sidecar-proxy" in weft("services", "list")
    assert "web" in weft("catalog", "services")
    assert "127.0.0.1:8080" in weft("catalog", "instances", "web")
    assert json.loads(weft("catalog", "nodes", "--format", "json"))[0]["Node"] == "n1"
    assert weft("catalog", "datacenters").split() == ["Datacenter", "dc1"]
    assert weft("services", "deregister", "web") == "Deregistered: web\n"
    assert "Unknown service ID" in weft("services", "deregister", "web", code=1)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_definition_comes_from_a_file(weft: Weft, dev: Dev, tmp_path: Path, wrapped: bool) -> None:
    definition = {"name": "from-file", "port": 1, "tags": ["a"]}
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"service": definition} if wrapped else definition))
    assert weft("services", "register", str(file)) == "Registered: from-file\n"
    assert dev.ok("GET", "/v1/catalog/services")["from-file"] == ["a"]
    weft("services", "deregister", "from-file")


def test_intentions_are_created_checked_and_deleted(weft: Weft) -> None:
    weft("intention", "create", "--deny", "web", "orders")
    assert "exists" in weft("intention", "create", "web", "orders", code=1)
    assert weft("intention", "check", "web", "orders", code=2) == "Denied\n"
    weft("intention", "create", "--allow", "--replace", "web", "orders", "--description", "now")
    assert weft("intention", "check", "web", "orders") == "Allowed\n"
    assert "now" in weft("intention", "get", "web", "orders")
    assert "orders" in weft("intention", "list")
    assert "web" in weft("intention", "match", "orders")
    assert json.loads(weft("intention", "match", "--source", "web", "--format", "json"))
    weft("intention", "delete", "web", "orders")
    assert "no intention" in weft("intention", "delete", "web", "orders", code=1)
    assert "no intention" in weft("intention", "get", "web", "orders", code=1)


def test_an_intention_with_permissions_is_told_from_one_that_denies(weft: Weft, tmp_path: Path) -> None:
    permission = {"Action": "allow", "HTTP": {"PathPrefix": "/"}}
    entry = {"Kind": "service-intentions", "Name": "orders"}
    file = tmp_path / "entry.json"
    file.write_text(json.dumps({**entry, "Sources": [{"Name": "web", "Permissions": [permission]}]}))
    weft("config", "write", str(file))
    assert "weft explain web orders" in weft("intention", "check", "web", "orders", code=2)
    assert weft("intention", "check", "db", "orders") == "Allowed\n"
    assert "by request" in weft("intention", "list")
    weft("config", "delete", "--kind", "service-intentions", "--name", "orders")


def test_wrong_calls_are_one_line(weft: Weft, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for arguments, code, word in (
        (("services", "register"), 2, "give either FILE"),
        (("services", "register", str(broken)), 2, "not JSON"),
        (("services", "register", str(tmp_path / "none")), 2, "cannot be read"),
        (("catalog", "nothing"), 2, "nothing"),
    ):
        told = weft(*arguments, code=code)
        assert word in told
        assert len(told.strip().splitlines()) == 1
    told = weft("catalog", "services", code=1, address="127.0.0.1:1")
    assert "weft dev" in told
    assert len(told.strip().splitlines()) == 1
