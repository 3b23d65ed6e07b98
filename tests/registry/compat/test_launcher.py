"""The launcher as a harness uses it: files and flags in, a process that answers as `consul agent` does."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import consul
import pytest

from registry.compat.arguments import CannotDo, launch, overlaid, parser
from registry.consul_keys import TOKEN, UnknownKey, flatten, sorted_out
from tests.support.mesh import wait_for
from tests.support.processes import Child, Processes, free_port, wait_for_port
from weft.cli import dev

MANAGEMENT = "6d1f0f60-8a5c-4a3b-9d0b-0c1de5a1f0aa"


def flags(*arguments: str) -> Any:
    return parser().parse_args(["agent", *arguments])


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_flags_may_have_one_dash_or_two_and_stand_above_files() -> None:
    given = flags("-config-file", "a.json", "--config-file=b.hcl", "-node", "n9", "-http-port=8555", "-dev")
    assert given.config_file == ["a.json", "b.hcl"]
    plan = launch(overlaid({"node_name": "n1", "datacenter": "east"}, given), dev=given.dev)
    assert option(plan.arguments, "--node-name") == "n9"
    assert option(plan.arguments, "--datacenter") == "east"
    assert option(plan.arguments, "--http-port") == "8555"


def test_what_a_go_harness_writes_is_understood() -> None:
    written: Any = {
        "node_name": "node-1",
        "node_id": "x",
        "performance": {"raft_multiplier": 1},
        "bootstrap": True,
        "server": True,
        "data_dir": "/tmp/x",
        "bind_addr": "127.0.0.1",
        "ports": {"dns": -1, "http": 7, "https": 9, "serf_lan": 1, "serf_wan": 2, "server": 3, "grpc": 4},
        "acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": MANAGEMENT, "agent": "y"}},
        "connect": {"enabled": True, "ca_config": {"cluster_id": "z"}},
        "peering": {"enabled": True},
        "skip_leave_on_interrupt": True,
    }
    taken, without_effect = sorted_out(flatten(written), "x.json")
    assert taken[TOKEN] == MANAGEMENT
    assert "acl.tokens.agent" in without_effect
    plan = launch(taken, dev=False)
    assert (plan.token, option(plan.arguments, "--acl-default-policy")) == (MANAGEMENT, "deny")
    assert option(plan.arguments, "--dns-port") == "-1"
    assert option(plan.arguments, "--grpc-port") == "4"
    assert MANAGEMENT not in plan.arguments


def test_limits_are_taken_by_consuls_names() -> None:
    rates = {"mode": "enforcing", "read_rate": 200.5, "write_rate": -1}
    written: Any = {"limits": {"http_max_conns_per_client": 100, "request_limits": rates, "rpc_rate": 5}}
    taken, without_effect = sorted_out(flatten(written), "x.json")
    assert without_effect == ["limits.rpc_rate"]
    arguments = launch(taken, dev=True).arguments
    assert option(arguments, "--request-limits-mode") == "enforcing"
    assert option(arguments, "--request-limits-read-rate") == "200.5"
    assert option(arguments, "--http-max-conns-per-client") == "100"
    assert "--request-limits-write-rate" not in arguments  # Consul's -1 is no limit
    dev.command.make_context("dev", arguments[1:])


def test_what_nobody_knows_is_refused_in_one_line() -> None:
    with pytest.raises(UnknownKey, match=r"^f.json: invalid config keys acl.colour, flavour$"):
        sorted_out(flatten({"acl": {"colour": 1}, "flavour": 2, "node_name": "x"}), "f.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bootstrap_expect": 3}, "one server"),
        ({"client_addr": "10.0.0.1"}, "127.0.0.1 only"),
        ({"ports.http": -1}, "cannot be turned off"),
        ({"ports.http": "x"}, "must be a number"),
        ({"node_name": 7}, "must be a string"),
        ({"acl.enabled": "yes"}, "must be true or false"),
        ({"acl.enabled": True, "acl.default_policy": "x"}, "use allow or deny"),
        ({"limits.request_limits.mode": "x"}, "use disabled, permissive, enforcing"),
        ({"limits.request_limits.read_rate": "many"}, "requests a second"),
    ],
)
def test_what_cannot_be_followed_is_refused(config: Any, message: str) -> None:
    with pytest.raises(CannotDo, match=message):
        launch(config, dev=False)


@contextmanager
def harness(tmp_path: Path, **more: object) -> Iterator[tuple[Child, int]]:
    """A process made from a file, as harnesses do."""
    port = free_port()
    config = {
        "node_name": "h1",
        "data_dir": str(tmp_path / "data"),
        "ports": {"http": port, "dns": -1},
        **more,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    pid = tmp_path / "pid"
    with Processes(tmp_path) as running:
        child = running.start_python(
            "consul", "registry.compat", "agent", "-config-file", str(file), "-pid-file", str(pid), "-server"
        )
        wait_for_port(child, port)
        assert int(pid.read_text()) > 0
        yield child, port


def test_py_consul_works_against_it(tmp_path: Path) -> None:
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": MANAGEMENT}}
    with harness(tmp_path, acl=acl) as (_, port):
        anonymous = consul.Consul(port=port)
        assert anonymous.status.leader()
        with pytest.raises(consul.ACLPermissionDenied):
            anonymous.kv.get("a")
        client = consul.Consul(port=port, token=MANAGEMENT)
        index, nodes = client.catalog.nodes()
        assert int(index) >= 2
        assert [node["Node"] for node in nodes] == ["h1"]
        assert client.kv.put("a", "b")
        assert client.agent.maintenance(True, "why")
        assert client.agent.checks()["_node_maintenance"]["Notes"] == "why"


def test_a_wrong_file_ends_it_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"flavour": 1}')
    done = subprocess.run(
        [sys.executable, "-m", "registry.compat", "agent", "-config-file", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, f"==> {file}: invalid config key flavour\n")


def test_services_in_a_file_are_registered(tmp_path: Path) -> None:
    web: Any = {"name": "web", "port": 80, "check": {"id": "c", "args": ["true"], "interval": "1s"}}
    with harness(tmp_path, service=web, enable_local_script_checks=True) as (_, port):
        client = consul.Consul(port=port)
        wait_for(lambda: "web" in client.agent.services(), "the service of the file")
        assert client.agent.services()["web"]["Port"] == 80
        assert client.agent.checks()["c"]["Type"] == "script"


def test_definitions_need_a_suffix(tmp_path: Path) -> None:
    file = tmp_path / "definitions"
    file.write_text('service { name = "web" }')
    done = subprocess.run(
        [sys.executable, "-m", "registry.compat", "agent", "-config-file", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "must end in" in done.stderr


SCRIPT = """
const Consul = require("consul");
(async () => {
  const consul = new Consul({host: "127.0.0.1", port: Number(process.env.PORT)});
  await consul.agent.service.register({name: "web", port: 80, check: {ttl: "1h"}});
  await consul.agent.check.pass("service:web");
  const health = await consul.health.service({service: "web", passing: true});
  await consul.kv.set("a", "b");
  const read = await consul.kv.get("a");
  await consul.agent.maintenance({enable: true});
  const down = await consul.health.service({service: "web", passing: true});
  console.log(JSON.stringify([health.length, read.Value, down.length]));
})();
"""


@pytest.mark.long
def test_node_consul_works_against_it(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("npm and node are not installed")
    made = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "consul"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=120,
    )
    if made.returncode:
        pytest.skip("npm cannot install consul here")
    with harness(tmp_path) as (_, port):
        done = subprocess.run(
            [node, "-e", SCRIPT],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"PORT": str(port)},
        )
    assert (done.stderr, json.loads(done.stdout or "null")) == ("", [1, "b", 0])
