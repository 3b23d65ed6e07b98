"""The node that a registry process is: its name, and its row in the catalog."""

import os
import uuid

from weft.errors import ConfigError

from .catalog.model import Node
from .catalog.state import State
from .machine import LOOPBACK, machine_name
from .replica.etcd.engine import EtcdLog
from .replica.replica import Replica
from .settings import Settings


def node_name(settings: Settings, state: State) -> str:
    """The node that this process is. Raises ConfigError when the data directory is another's."""
    if settings.cluster:
        return settings.node_name or machine_name()
    known = [row.name for row in state.list_nodes().rows]
    if known and settings.node_name not in ("", known[0]):
        raise ConfigError(
            f"--node-name {settings.node_name}: the data directory is of node {known[0]}; "
            "give that name, or another directory"
        )
    return known[0] if known else settings.node_name or machine_name()


def node_of(name: str, settings: Settings, replica: Replica | EtcdLog) -> Node:
    """This machine. In a cluster its id is the server's: a new disk makes a new one."""
    known = replica.view().nodes.get((name,))
    node_id = known.id if known else str(uuid.UUID(bytes=os.urandom(16), version=4))
    cluster = settings.cluster
    host = cluster.advertise if cluster else LOOPBACK
    names = ("lan", "wan") if ":" in host or cluster else ("lan", "lan_ipv4", "wan", "wan_ipv4")
    tagged = dict.fromkeys(names, host)
    return Node(name, host, settings.datacenter, replica.server_id if cluster else node_id, tagged)
