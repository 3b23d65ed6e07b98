"""`/v1/agent/{join,leave,force-leave}`: what is left of them without gossip."""

from ..catalog import commands, enrolment
from ..catalog.model import CRITICAL, NODE_ALIVE_ID
from ..catalog.state import State
from .errors import BadRequest, NotFound
from .handling import Call
from .operator import known_servers
from .respond import Reply


async def join(call: Call) -> Reply:
    """Whoever is a member already has joined. Nobody else can be made to from here."""
    address = call.needed("Missing address")
    servers = [server.member.address for server in known_servers(call)]
    if address not in servers and address not in {_host(it) for it in servers}:
        raise BadRequest(
            f"{address[:100]} is no member, and there is no gossip to ask it by: start that process with "
            "--retry-join (a server) or --server (an agent)"
        )
    return Reply()


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


async def leave(call: Call) -> Reply:
    """Ends this process as SIGTERM does: a server hands leadership over first, and stays a member."""
    call.parts.leaving.set()
    return Reply()


async def force_leave(call: Call) -> Reply:
    """Removes a node that nothing is heard of, with all that it has. One that lives is left alone: it would
    come back at once, as a Consul agent does."""
    name = call.needed("Missing node name")
    state = call.parts.log.view()
    if (name,) not in state.nodes:
        raise NotFound(f"agent: No node found with name '{name[:100]}'")
    if any(server.name == name for server in known_servers(call)):
        raise BadRequest(f"{name[:100]} is a server: see weft operator raft remove-peer")
    if not _is_silent(state, name):
        return Reply()
    if (name,) in state.members:
        await call.parts.writer.propose(lambda stamp: enrolment.remove_agent(stamp, name))
    else:
        await call.parts.writer.propose(lambda stamp: commands.deregister_node(stamp, name))
    return Reply()


def _is_silent(state: State, name: str) -> bool:
    alive = state.checks.get((name, NODE_ALIVE_ID))
    member = state.members.get((name,))
    return (alive is not None and alive.status == CRITICAL) or bool(member and member.silent_ms)
