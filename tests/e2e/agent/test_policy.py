"""A changed policy on every process of a cluster, and an agent that is cut off."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import running_agents
from tests.support.servers import Process, eventually, running_servers

pytestmark = pytest.mark.long

RULES = 'agent_prefix "" {{ policy = "{access}" }}'
PATH = "/v1/agent/self"


def made(on: Process, path: str, body: object) -> Any:
    return on.ok("PUT", path, body)


def test_a_changed_policy_is_in_force_everywhere_and_stays_where_servers_are_away(tmp_path: Path) -> None:
    with running_servers(tmp_path, 3) as cluster, running_agents(cluster, 1) as (agent,):
        processes: list[Process] = [*cluster.servers, agent]
        leader = cluster.leader()
        policy = made(leader, "/v1/acl/policy", {"Name": "p", "Rules": RULES.format(access="read")})["ID"]
        secret = made(leader, "/v1/acl/token", {"Policies": [{"ID": policy}]})["SecretID"]

        def all_say(expected: int) -> bool:
            return {process.call("GET", f"{PATH}?token={secret}")[0] for process in processes} == {expected}

        eventually(lambda: all_say(200), "the token is known to all")
        for access, expected in (("deny", 403), ("read", 200), ("deny", 403)):
            made(leader, f"/v1/acl/policy/{policy}", {"Name": "p", "Rules": RULES.format(access=access)})
            eventually(partial(all_say, expected), f"{access} is in force")
        for server in cluster.servers:
            server.kill()
        assert agent.call("GET", f"{PATH}?token={secret}")[0] == 403  # what was known last
        assert agent.call("GET", f"{PATH}?token=never-seen-before")[0] == 500
