"""Definition files of real processes: read at the start, on SIGHUP, when asked, and when they change."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import Agent, make_agent, running_agents
from tests.support.dev import WEFT, running_dev
from tests.support.servers import Cluster, eventually, prepare, running_servers

WEB = 'service { name = "web" port = 80 check { id = "beat" ttl = "600s" status = "passing" } }'


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_servers(tmp_path_factory.mktemp("cluster"), 1) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "definitions"
    found.mkdir()
    (found / "web.hcl").write_text(WEB)
    return found


@pytest.fixture
def agent(cluster: Cluster, folder: Path) -> Iterator[Agent]:
    token = ("--definitions-token-file", str(cluster.folder / "token"))
    with running_agents(cluster, 1, "--config-dir", str(folder), *token) as (found,):
        yield found


def in_catalog(cluster: Cluster) -> set[str]:
    return set(cluster.servers[0].ok("GET", "/v1/catalog/services")) - {"consul"}


def test_files_of_an_agent_reach_the_catalog_and_leave_it(
    cluster: Cluster, agent: Agent, folder: Path
) -> None:
    eventually(lambda: in_catalog(cluster) == {"web"}, "defined at the start")
    assert agent.ok("GET", "/v1/health/service/web?passing")
    (folder / "api.json").write_text(json.dumps({"service": {"name": "api", "port": 81}}))
    eventually(lambda: in_catalog(cluster) == {"web", "api"}, "a new file")
    (folder / "web.hcl").unlink()
    eventually(lambda: in_catalog(cluster) == {"api"}, "a file that went")


def test_a_reload_is_answered_once_it_is_in_force(agent: Agent, folder: Path) -> None:
    (folder / "web.hcl").write_text(WEB.replace("80", "90"))
    agent.ok("PUT", "/v1/agent/reload")
    assert agent.ok("GET", "/v1/agent/service/web")["Port"] == 90
    (folder / "web.hcl").write_text(WEB.replace("80", "many"))
    status, _, body = agent.call("PUT", "/v1/agent/reload")
    assert status == 400
    assert b"web.hcl" in body
    assert agent.ok("GET", "/v1/agent/service/web")["Port"] == 90


def test_sighup_reloads_and_what_is_wrong_ends_nobody(agent: Agent, folder: Path) -> None:
    file = folder / "web.hcl"
    file.write_text("service {")
    agent.signal(signal.SIGHUP)
    eventually(lambda: "nothing is reloaded" in agent.said(), "it says why not")
    assert agent.services() == {"web"}
    file.write_text(WEB.replace("web", "shop"))
    agent.signal(signal.SIGHUP)
    eventually(lambda: agent.services() == {"shop"}, "reloaded")


def test_what_left_while_the_agent_was_down_leaves_the_catalog(
    cluster: Cluster, agent: Agent, folder: Path
) -> None:
    agent.ok("PUT", "/v1/agent/service/register", {"Name": "by-api"})
    eventually(lambda: in_catalog(cluster) == {"web", "by-api"}, "both are told")
    agent.kill()
    (folder / "web.hcl").unlink()
    agent.start()
    eventually(lambda: in_catalog(cluster) == {"by-api"}, "the file's is gone, the API's stays")


def test_a_wrong_file_ends_the_start_with_its_name(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    (folder / "web.hcl").write_text('service { name = "web" prot = 80 }')
    agent = make_agent(cluster, "wrong", "--config-dir", str(folder))
    agent.folder = tmp_path
    agent.launch()
    assert agent.process is not None
    assert agent.process.wait(20) == 2
    assert f'weft: {folder}/web.hcl: service "web": unknown field "prot"' in agent.said()


def test_weft_dev_reads_definitions(folder: Path) -> None:
    with running_dev("--config-file", str(folder / "web.hcl")) as dev:
        assert [row["Service"]["Port"] for row in dev.passing("web")] == [80]
        (folder / "web.hcl").write_text(WEB.replace("80", "81"))
        eventually(lambda: dev.passing("web")[0]["Service"]["Port"] == 81, "the change is noticed")


def test_a_server_reads_definitions_of_its_own_machine(folder: Path, tmp_path: Path) -> None:
    cluster = prepare(tmp_path)
    server = cluster.add("--config-dir", str(folder), "--bootstrap-expect", "1")
    try:
        server.start()
        cluster.when_ready()
        eventually(lambda: in_catalog(cluster) == {"web"}, "defined once there is a leader")
        server.stop()
        (folder / "web.hcl").unlink()
        server.start()
        eventually(lambda: in_catalog(cluster) == set(), "gone with its file, though the log had it")
    finally:
        cluster.close()


def test_options_in_toml_and_definitions_go_together(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dev.toml").write_text('node_name = "of-toml"\n')
    flags = ("--config-file", str(tmp_path / "dev.toml"), "--config-file", str(folder / "web.hcl"))
    with running_dev(*flags) as dev:
        assert [row["Node"]["Node"] for row in dev.passing("web")] == ["of-toml"]
    (tmp_path / "dev.toml").write_text("nodename = 1\n")
    done = subprocess.run([*WEFT, "dev", *flags], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "is it node_name?" in done.stderr) == (2, True)
