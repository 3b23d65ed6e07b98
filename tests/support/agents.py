"""Real `weft agent` processes beside the servers of `tests.support.servers`.

with running_servers(tmp_path, 1) as cluster, running_agents(cluster, 2) as (a1, a2):
    a1.ok("PUT", "/v1/agent/service/register", {"Name": "web"})
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.dev import WEFT
from tests.support.servers import Cluster, Process, Server, eventually

SYNC_INTERVAL = "500ms"  # tests wait for what is found out at the next look


@dataclass
class Agent(Process):
    """One agent; `names` in the catalog are found through any server."""

    def command(self) -> list[str]:
        return [*WEFT, "agent", "--data-dir", str(self.data), "--node-name", self.name]

    def services(self) -> set[str]:
        """Ids of what is registered here."""
        return set(self.ok("GET", "/v1/agent/services"))


def make_agent(cluster: Cluster, name: str, *flags: str, seeds: Sequence[Server] = ()) -> Agent:
    """Not started yet. `seeds` are the servers that it is told of; all, where none is named."""
    servers = [part for it in seeds or cluster.servers for part in ("--server", it.told["https"])]
    base = (
        *servers,
        *("--http-port", "0", "--dns-port", "0", "--advertise", "127.0.0.1"),
        *("--tls-ca", str(cluster.folder / "weft-server-ca.pem")),
        *("--agent-token-file", str(cluster.folder / "token")),
        *("--sync-interval", SYNC_INTERVAL),
    )
    return Agent(name, cluster.folder, (*base, *flags))


def joining_agent(cluster: Cluster, name: str, *flags: str, text: str = "") -> Agent:
    """Not started yet. It joins by a token of its own, or by `text`, and is told all else by the servers."""
    text = text or cluster.running[0].ok("PUT", "/v1/join-token", {"Node": name})["Token"]
    file = cluster.folder / f"{name}.join"
    file.touch(mode=0o600)
    file.write_text(text + "\n")
    servers = [part for it in cluster.running for part in ("--server", it.told["https"])]
    base = ("--http-port", "0", "--dns-port", "0", "--advertise", "127.0.0.1", "--join-token-file", str(file))
    return Agent(name, cluster.folder, (*servers, *base, "--sync-interval", SYNC_INTERVAL, *flags))


@contextmanager
def running_agents(
    cluster: Cluster, count: int, *flags: str, names: Sequence[str] = ()
) -> Iterator[list[Agent]]:
    """Agents that the servers know, a1 and so on where no names are given; what runs at the end is killed."""
    called = names or [f"a{number + 1}" for number in range(count)]
    agents = [make_agent(cluster, name, *flags) for name in called]
    try:
        for agent in agents:
            agent.start()
        for agent in agents:
            when_known(cluster, agent.name)
        yield agents
    finally:
        for agent in agents:
            if agent.running:
                agent.kill()


def when_known(cluster: Cluster, node: str) -> None:
    server = cluster.running[0]
    eventually(lambda: server.ok("GET", f"/v1/catalog/node/{node}"), f"node {node}\n{cluster.said()}")
