"""What each gRPC method asks of its caller. A method without a rule is not served, and fails a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Proof(Enum):
    """What a caller proves itself by. The servicer checks it before anything else."""

    TOKEN = auto()  # of the access control list, with a right to what the request names
    CREDENTIAL = auto()  # of one instance, which can name no other
    CERTIFICATE = auto()  # of a node's agent, which can name no other
    SERVER = auto()  # another server of the cluster, by the operator's key


@dataclass(frozen=True, slots=True)
class Rule:
    """`writes`: each call is told of in the audit log, and not only the refused ones."""

    proof: Proof
    writes: bool = False


RULES: Mapping[str, Rule] = {
    "/weft.mesh.v1.Mesh/SignCertificate": Rule(Proof.CREDENTIAL, writes=True),
    "/weft.mesh.v1.Mesh/Subscribe": Rule(Proof.CREDENTIAL),
    "/weft.mesh.v1.Mesh/Observe": Rule(Proof.CREDENTIAL),
    "/weft.registration.v1.Registration/Register": Rule(Proof.TOKEN, writes=True),
    "/weft.registration.v1.Registration/Deregister": Rule(Proof.TOKEN, writes=True),
    "/weft.registration.v1.Registration/RevokeCredential": Rule(Proof.TOKEN, writes=True),
    "/weft.server.v1.Servers/Report": Rule(Proof.SERVER),
    "/weft.server.v1.Servers/Proxies": Rule(Proof.SERVER),
    "/weft.server.v1.Servers/ReportAgents": Rule(Proof.SERVER),
    "/weft.server.v1.Servers/Tap": Rule(Proof.SERVER),
    "/weft.agent.v1.Agents/Renew": Rule(Proof.CERTIFICATE, writes=True),
    "/weft.agent.v1.Agents/Lease": Rule(Proof.CERTIFICATE),
}
"""By the path of the method."""
