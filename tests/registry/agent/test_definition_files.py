"""Definition files as Consul's users have them: read as the API reads, refused with file and field."""

import pytest

from registry.agent.definition_files import Definitions, read_definitions
from registry.agent.service_definition import Home
from weft.errors import UsageError

HOME = Home("n1", "dc1")
HCL = """
# As in Consul's own documentation.
service {
  name = "web"
  id   = "web-1"
  port = 80
  tags = ["primary", "v1"]
  token = "5a0bbd0e-7c4d-4e0f-9c0a-3f2b1d9e8a77"
  enable_tag_override = true
  meta { version = "4" }
  tagged_addresses { lan = { address = "10.0.0.5", port = 81 } }
  weights { passing = 5, warning = 1 }
  check { id = "http" http = "http://127.0.0.1:80/health" interval = "10s" timeout = "1s"
          header { x-probe = ["yes"] } deregister_critical_service_after = "90m" }
  check { id = "beat" ttl = "30s" }
  connect { sidecar_service { proxy { upstreams { destination_name = "db" local_bind_port = 9191 } } } }
}
check { id = "disk" name = "Disk" ttl = "60s" notes = "how full" }
"""
JSON = """{"services": [{"name": "a", "port": 1}, {"Name": "b", "Port": 2}],
  "checks": [{"id": "of-a", "name": "of a", "service_id": "a", "tcp": "127.0.0.1:1", "interval": "5s"}]}"""


def read(*texts: str) -> Definitions:
    return read_definitions([(f"f{n}.hcl", text) for n, text in enumerate(texts, 1)], HOME)


def test_a_service_as_consul_documents_it() -> None:
    found = read(HCL)
    (defined,) = found.services
    service, checks = defined.spec.service, defined.spec.checks
    assert (service.id, service.name, service.port, service.tags) == ("web-1", "web", 80, ("primary", "v1"))
    assert service.meta == {"version": "4"}
    assert service.enable_tag_override
    assert (service.weight_passing, service.weight_warning) == (5, 1)
    assert service.tagged_addresses["lan"].port == 81
    assert [(row.id, row.type) for row in checks] == [("http", "http"), ("beat", "ttl")]
    assert checks[0].definition.deregister_critical_after_ms == 90 * 60 * 1000
    assert defined.token.startswith("5a0b")
    assert defined.token not in repr(found)
    sidecar = defined.spec.sidecar
    assert sidecar is not None
    assert sidecar.service.proxy is not None
    assert [it.destination_name for it in sidecar.service.proxy.upstreams] == ["db"]
    assert [(it.id, it.name, it.notes) for it in found.checks] == [("disk", "Disk", "how full")]


def test_lists_and_both_spellings_of_keys() -> None:
    found = read(JSON)
    assert [it.spec.service.id for it in found.services] == ["a", "b"]
    assert [(it.id, it.service_id) for it in found.checks] == [("of-a", "a")]


def test_several_blocks_and_several_files() -> None:
    found = read('service { name = "a" } service { name = "b" }', 'service { name = "c" }')
    assert [(it.spec.service.id, it.file) for it in found.services] == [
        ("a", "f1.hcl"),
        ("b", "f1.hcl"),
        ("c", "f2.hcl"),
    ]


def test_nothing_is_nothing() -> None:
    assert read("", "{}", "services = []") == Definitions()


def test_settings_of_consuls_agent_are_left_aside_and_named() -> None:
    found = read('datacenter = "dc1" ports { http = 8500 } service { name = "a" }')
    assert found.left_aside == ("f1.hcl: without effect here: datacenter, ports.http",)
    assert len(found.services) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('service { name = "a" prot = 80 }', 'f1.hcl: service "a": unknown field "prot"'),
        ('service { name = "a" port = "x" }', 'f1.hcl: service "a": port must be an integer'),
        ('service { id = "x" port = 99999 }', 'f1.hcl: service "x": Invalid Port: must be between'),
        ("service { port = 80 }", "f1.hcl: service without a name: Missing service name"),
        ('service { name = "a" token = 3 }', 'f1.hcl: service "a": token must be a string'),
        ('service { name = "a" check { http = "x" } }', "Check"),
        ('service { name = "consul" }', "the registry's own"),
        ('service = "a"', "f1.hcl: service must be an object, or a list of objects"),
        ('check { ttl = "10s" }', "f1.hcl: check without a name: Missing check name"),
        ('check { name = "c" interval = "5s" }', 'f1.hcl: check "c": Invalid check'),
        ('servce { name = "a" }', "f1.hcl: invalid config key servce"),
        ('service { name = "a" ', "f1.hcl is not valid HCL: line 1"),
        ('service { name = "a" } service { name = "a" }', 'f1.hcl: service "a": is defined twice'),
        ('check { name = "c" ttl = "1s" } checks = [{ name = "c" ttl = "1s" }]', "is defined twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(text)
    assert message.lower() in str(refusal.value).lower()
    assert str(refusal.value).startswith("f1.hcl")
    assert "\n" not in str(refusal.value)


def test_one_id_in_two_files_is_refused() -> None:
    with pytest.raises(UsageError, match=r'^f2.hcl: service "a": is defined twice'):
        read('service { name = "a" }', '{"service": {"name": "a"}}')
