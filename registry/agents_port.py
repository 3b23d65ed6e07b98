"""What a registry does for agents, made and wired: joining, leases, and the port that they are held on."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from ca.sealing import Keyring
from weft.clock import Clock

from .agent.writer import Writer
from .identity.admission import Admission
from .identity.agent_proof import AgentProof
from .identity.enroller import Enroller
from .identity.issuer import Issuer
from .identity.server_tls import Face, listener_credentials
from .liveness.limits import Patience
from .liveness.roster import Roster
from .operator.agents import Agents as Lives
from .operator.agents import Leader
from .operator.guide import Guide
from .replica.etcd.engine import EtcdLog
from .replica.replica import Replica
from .rpc.agents import Agents
from .rpc.gate import Gate
from .rpc.server import AgentServer

RUN_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Needs:
    """The registry's rooms, as far as agents need them. `leader` is None where this is the only server; `own`
    are host:port of this server's ports for agents, for sidecars and for HTTPS."""

    log: Replica | EtcdLog
    writer: Writer
    issuer: Issuer
    keyring: Keyring
    admission: Admission | None
    face: Face
    leader: Leader | None
    clock: Clock
    patience: Patience
    gate: Gate
    own: Callable[[], tuple[str, str, str]]


class AgentsPort:
    """`enroller` makes join tokens and redeems them, `guide` says what agents need, `lives` is a duty."""

    def __init__(self, needs: Needs) -> None:
        log, clock, face = needs.log, needs.clock, needs.face
        self._face = face
        self._proof = AgentProof(log.view, clock)
        self.enroller = Enroller(
            log,
            needs.writer,
            needs.issuer,
            needs.keyring,
            needs.admission,
            lambda: face.root_pem,
            os.urandom,
        )
        self.guide = Guide(log.view, lambda: face.root_pem, needs.own)
        roster = Roster(log.server_id, os.urandom(RUN_ID_BYTES))
        self.lives = Lives(log, needs.writer, roster, needs.leader, needs.patience, clock.monotonic)
        self._server = AgentServer(
            Agents(log, self._proof, self.enroller, self.guide, roster, clock.monotonic), needs.gate
        )

    def bind(self, host: str, port: int) -> int:
        """Takes the port and answers it; 0 takes a free one. Raises PortTaken."""
        return self._server.bind(host, port, listener_credentials(self._face.pair, self._proof.roots_pem))

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        """Ends the leases: agents go to other servers."""
        await self._server.close()
