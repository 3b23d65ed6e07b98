"""A link to every other server of the configuration in force, and the listener that theirs end at."""

import time

from weft.aio import Tasks
from weft.pb.raft.v1 import raft_pb2 as pb

from ..errors import NotReady
from ..raft.config import Config
from ..raft.messages import Message
from . import connection, limits
from .link import Draw, Link, Peer
from .listener import Host, Listener
from .opening import PROTOCOL
from .options import Options
from .peer_tls import PeerContexts
from .turn import Turn


class Transport:
    """`address` is where the others find this server."""

    def __init__(self, host: Host, options: Options, draw: Draw, turn: Turn) -> None:
        self._host = host
        self._draw = draw
        self._turn = turn
        self._contexts = PeerContexts(options.tls, options.datacenter)
        self._links: dict[str, Link] = {}
        self._config = Config()
        self._callers: dict[str, Peer] = {}  # who is connected to us, in the configuration or not yet
        self._ending = Tasks()
        self._closing = False
        self._listener = Listener(host, self, self._contexts, turn)
        bound = self._listener.bind(options.listen)
        self.address = options.advertise or bound

    def start(self) -> None:
        self._listener.start()

    def update(self, config: Config) -> None:
        """Opens and closes links: to all of the configuration, and back to whoever is connected to us."""
        self._config = config
        if self._closing:
            return
        wanted = {
            member.id: Peer(member.id, member.address)
            for member in config.members
            if member.id != self._host.server_id and member.address
        } | self._callers  # where it says it is now counts for more than where it was
        for server_id, link in tuple(self._links.items()):
            if wanted.get(server_id) != link.peer:
                del self._links[server_id]
                self._ending.spawn(link.close(), "closing a link")
        for server_id, peer in wanted.items():
            if server_id not in self._links:
                self._links[server_id] = Link(peer, self._hello, self._contexts, self._draw, self._turn)

    def caller_came(self, peer: Peer) -> None:
        """A server of this cluster connected. One whose log is behind must answer whom it does not know."""
        self._callers[peer.id] = peer
        self.update(self._config)

    def caller_went(self, peer: Peer) -> None:
        if self._callers.get(peer.id) is peer:
            del self._callers[peer.id]
            self.update(self._config)

    def _hello(self, receiver: str) -> pb.Opening:
        known = self._host.known()
        hello = pb.Hello(
            cluster_id=known.cluster_id, sender=known.server_id, receiver=receiver, address=self.address
        )
        return pb.Opening(protocol=PROTOCOL, level=self._host.own_level(), hello=hello)

    def send(self, message: Message) -> None:
        if link := self._links.get(message.to):
            link.send(message)

    def connected(self, server_id: str) -> bool:
        link = self._links.get(server_id)
        return bool(link and link.connected)

    async def call(self, server_id: str, call: pb.Call) -> pb.Answer:
        """Raises NotReady when nothing was sent, OutcomeUnknown when no answer came."""
        link = self._links.get(server_id)
        if link is None:
            raise NotReady("the leader cannot be reached now; retry later")
        return await link.call(call)

    def leads_no_more(self, server_id: str) -> None:
        """Ends the calls that wait for this server: one that hangs or is cut off never answers them."""
        if link := self._links.get(server_id):
            link.give_up_calls("the leader was replaced")

    async def identify(self, address: str) -> pb.Identity:
        """Who answers at `host:port`. Raises NotReady, PeerRefused."""
        opening = self._question()
        opening.identify.SetInParent()
        return (await self._ask(address, opening, limits.INTRODUCTION_TIMEOUT_S)).identity

    async def join(self, address: str) -> str:
        """Asks the server at `host:port` to add this one; answers the cluster's id. Raises as `identify`."""
        opening = self._question()
        opening.join.server_id, opening.join.address = self._host.server_id, self.address
        return (await self._ask(address, opening, limits.PROPOSE_TIMEOUT_S)).joined.cluster_id

    def _question(self) -> pb.Opening:
        return pb.Opening(protocol=PROTOCOL, level=self._host.own_level())

    async def _ask(self, address: str, opening: pb.Opening, timeout_s: float) -> pb.Opened:
        contexts = self._contexts
        made, opened = await connection.call(
            address,
            contexts.calling(),
            contexts.name,
            lambda proof: contexts.check(proof, time.time()),
            opening,
            self._turn,
            timeout_s,
        )
        made.finish()
        await made.gone()
        return opened

    async def close(self) -> None:
        self._closing = True
        for link in self._links.values():
            await link.close()
        self._links.clear()
        await self._listener.close()
        await self._ending.close()
