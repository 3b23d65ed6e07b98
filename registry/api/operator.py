"""`/v1/operator/*` and `/v1/agent/members`: the servers of the cluster."""

from weft import __version__

from ..catalog.enrolment_model import Member
from ..catalog.state import State
from ..operator.errors import EngineHasNoMembers
from ..operator.servers import VERSION_META, Members, Server, servers
from ..raft.errors import ChangeRefused
from . import reads
from .errors import BadRequest, NoSuchPeer
from .handling import Call
from .respond import Reply
from .views import Json

ALIVE, FAILED = 1, 4  # Serf's numbers, which Consul's clients know
UNHEALTHY_STATUS = 429  # as Consul answers, so that a load balancer needs no JSON
RAFT_PROTOCOL = "3"  # what Consul's clients expect of current servers


def known_members(call: Call) -> Members:
    """Raises EngineHasNoMembers."""
    found = call.parts.members
    if found is None:
        raise EngineHasNoMembers("the consensus engine has no Raft members of its own; use its own tools")
    return found


def known_servers(call: Call) -> tuple[Server, ...]:
    return servers(call.parts.log.view(), known_members(call).members())


async def configuration(call: Call) -> Reply:
    rows = [
        {
            "ID": server.member.id,
            "Node": server.name,
            "Address": server.member.address,
            "Leader": server.member.leader,
            "ProtocolVersion": RAFT_PROTOCOL,
            "Voter": server.member.voter,
            "LastIndex": server.member.match_index or 0,
        }
        for server in known_servers(call)
    ]
    return call.json({"Servers": rows, "Index": call.parts.log.status().commit_index})


async def remove_peer(call: Call) -> Reply:
    server_id, address = call.query.text("id"), call.query.text("address")
    if not server_id and not address:
        raise BadRequest(
            "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"
        )
    if server_id and address:
        raise BadRequest("Must specify only one of ?id or ?address")
    members = known_members(call)
    for member in members.members():
        if server_id == member.id or address == member.address:
            await members.remove(member.id)
            return Reply()
    raise NoSuchPeer("id" if server_id else "address", server_id or address)


async def transfer_leader(call: Call) -> Reply:
    members, wanted = known_members(call), call.query.text("id")
    if wanted and wanted not in {member.id for member in members.members()}:
        raise NoSuchPeer("id", wanted)
    try:
        await members.transfer(wanted)
    except ChangeRefused:
        # Whoever took over meanwhile is asked again, and cannot hand over to itself.
        if not wanted or call.parts.log.status().leader_id != wanted:
            raise
    return call.json({"Success": True})


async def members(call: Call) -> Reply:
    """Members of the cluster: servers, and, but for `?wan`, agents that have joined."""
    rows = call.sieve.keep(known_servers(call), lambda may, server: reads.node_name(may, server.name))
    shown = [_server(call, server) for server in rows]
    if not call.query.flag("wan"):
        state = call.parts.log.view()
        joined = call.sieve.keep(state.members.values(), lambda may, row: reads.node_name(may, row.node))
        shown += [_agent(call, state, row) for row in joined]
    return call.json([row for row in shown if call.keeps(row)])


def _agent(call: Call, state: State, row: Member) -> Json:
    node = state.nodes.get((row.node,))
    tags = {"role": "node", "dc": call.parts.datacenter, "id": node.id if node else "", "vsn": "2"}
    status = FAILED if row.silent_ms or node is None else ALIVE
    return _member(row.node, node.address if node else "", 0, tags, status)


def _server(call: Call, server: Server) -> Json:
    host, _, port = server.member.address.rpartition(":")
    tags = {
        "role": "consul",
        "dc": call.parts.datacenter,
        "id": server.member.id,
        "port": port,
        "build": server.meta.get(VERSION_META, __version__),
        "vsn": "2",
        "raft_vsn": RAFT_PROTOCOL,
    }
    status = ALIVE if server.alive else FAILED
    return _member(server.name, host.strip("[]"), int(port or 0), tags, status)


def _member(name: str, address: str, port: int, tags: dict[str, str], status: int) -> Json:
    protocol = dict.fromkeys(("ProtocolMin", "ProtocolMax", "ProtocolCur"), 2)
    delegate = dict.fromkeys(("DelegateMin", "DelegateMax", "DelegateCur"), 2)
    return {
        "Name": name,
        "Addr": address,
        "Port": port,
        "Tags": tags,
        "Status": status,
        **protocol,
        **delegate,
    }
