"""What a definition may say: reference sections 5 and 7.1."""

from typing import Any

import orjson
import pytest

from registry.agent.errors import InvalidDefinition, Undecodable
from registry.agent.service_definition import Home, parse_service

HOME = Home("n1", "dc1")


def parse(**fields: Any) -> Any:
    return parse_service(orjson.dumps({"Name": "web"} | fields), HOME)


def test_check_ids_are_consuls() -> None:
    assert [row.id for row in parse(ID="w:1", Check={"TTL": "10s"}).checks] == ["service:w:1"]
    several = parse(ID="w", Check={"TTL": "10s"}, Checks=[{"TCP": "a:1", "Interval": "1s"}]).checks
    assert [row.id for row in several] == ["service:w:1", "service:w:2"]
    assert parse(Check={"CheckID": "mine", "Name": "n", "TTL": "10s"}).checks[0].id == "mine"


def test_checks_begin_critical_unless_told_otherwise() -> None:
    assert parse(Check={"TTL": "10s"}).checks[0].status == "critical"
    assert parse(Check={"TTL": "10s", "Status": "passing"}).checks[0].status == "passing"


def test_snake_case_is_read_too() -> None:
    check = {
        "http": "https://h/x",
        "interval": "10s",
        "tls_skip_verify": True,
        "deregister_critical_service_after": "90m",
    }
    definition = parse(check=check, enable_tag_override=True).checks[0].definition
    assert definition.tls_skip_verify
    assert definition.deregister_critical_after_ms == 90 * 60 * 1000


def test_an_empty_check_is_no_check() -> None:
    assert parse(Check={}).checks == ()


def test_too_short_an_interval_is_lengthened_as_in_consul() -> None:
    definition = (
        parse(Check={"TCP": "a:1", "Interval": "1ms", "DeregisterCriticalServiceAfter": "1s"})
        .checks[0]
        .definition
    )
    assert (definition.interval_ms, definition.deregister_critical_after_ms) == (100, 60_000)


@pytest.mark.parametrize(
    "check",
    [
        {"Name": "no kind"},
        {"HTTP": "http://a/"},
        {"HTTP": "ftp://a/", "Interval": "1s"},
        {"HTTP": "http://", "Interval": "1s"},
        {"HTTP": "http://a/", "Interval": "1s", "Method": "BREW"},
        {"HTTP": "http://a/", "Interval": "1s", "Header": {"X": ["a\r\nB: c"]}},
        {"TCP": "a", "Interval": "1s"},
        {"TCP": "a:0", "Interval": "1s"},
        {"GRPC": "a:99999/s", "Interval": "1s"},
        {"GRPC": "a:1", "GRPCUseTLS": True, "TLSSkipVerify": True, "Interval": "1s"},
        {"TCP": "a:1", "HTTP": "http://a/", "Interval": "1s"},
        {"TTL": "10s", "Interval": "1s"},
        {"TTL": "-1s"},
        {"TTL": "10000h"},
        {"AliasService": "a", "Interval": "1s"},
        {"TTL": "1s", "Status": "fine"},
        {"TTL": "1s", "CheckID": "serfHealth"},
        {"TTL": "1s", "SuccessBeforePassing": -1},
        {"UDP": "a", "Interval": "1s"},
        {"UDP": "a:1"},
        {"H2PING": "a", "Interval": "1s"},
        {"H2PING": "a:1"},
        {"OSService": "--user", "Interval": "1s"},
        {"OSService": "a b", "Interval": "1s"},
        {"OSService": "nginx"},
        {"Args": ["true"]},
        {"Args": [""], "Interval": "1s"},
        {"Args": ["true", "a\0b"], "Interval": "1s"},
        {"Args": ["true"] * 100, "Interval": "1s"},
        {"Script": "true", "Interval": "1s"},
        {"TTL": "1s", "OutputMaxSize": -1},
        {"TTL": "1s", "AliasService": "a"},
        {"TTL": "1s", "FailuresBeforeWarning": 2, "FailuresBeforeCritical": 1},
        {"DockerContainerID": "x", "Shell": "sh", "Args": ["x"], "Interval": "1s"},
    ],
)
def test_a_check_that_cannot_run_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(InvalidDefinition):
        parse(Check=check)


def test_args_have_two_names() -> None:
    for name in ("Args", "ScriptArgs", "script_args"):
        row = parse(Check={name: ["/bin/sh", "-c", "id"], "Interval": "1s"}).checks[0]
        assert (row.type, row.definition.args) == ("script", ("/bin/sh", "-c", "id"))


def test_h2ping_is_over_tls_unless_told_otherwise() -> None:
    check = {"H2PING": "a:1", "Interval": "1s"}
    assert not parse(Check=check).checks[0].definition.h2ping_plaintext
    assert parse(Check=check | {"H2PingUseTLS": False}).checks[0].definition.h2ping_plaintext
    assert not parse(Check={"TTL": "1s", "H2PingUseTLS": False}).checks[0].definition.h2ping_plaintext


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Name": ""}, "Missing service name"),
        ({"Address": "::"}, "Invalid service address"),
        ({"Port": 70000}, "Invalid Port"),
        ({"Kind": "mesh-gateway"}, "Invalid Kind"),
        ({"Weights": {"Passing": 0}}, "Invalid Weights"),
        ({"Meta": {"a b": "c"}}, "Invalid Service Meta"),
        ({"Meta": {"a": "x" * 600}}, "Invalid Service Meta"),
        ({"Namespace": "team"}, "Invalid Namespace"),
        ({"Ports": [{"Port": 1}]}, "Ports is not supported"),
        ({"Kind": "connect-proxy", "Port": 1}, "DestinationServiceName"),
        ({"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "a"}}, "Port must be set"),
        ({"Connect": {"Native": True, "SidecarService": {}}}, "Invalid SidecarService"),
        ({"Checks": [{"CheckID": "a", "TTL": "1s"}, {"CheckID": "a", "TTL": "1s"}]}, "same CheckID"),
    ],
)
def test_a_service_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        parse(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"Conect": {}},
        {"Connect": {"Sidecar": {}}},
        {"Proxy": {"Upstreams": [{"Name": "x"}]}},
        {"Weights": {"Pasing": 1}},
    ],
)
def test_a_field_that_does_not_exist_is_refused_at_every_depth(fields: dict[str, Any]) -> None:
    with pytest.raises(Undecodable, match="unknown field"):
        parse(**fields)
