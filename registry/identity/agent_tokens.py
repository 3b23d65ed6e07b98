"""Tokens of one agent itself: an operator gives them while it runs (`PUT /v1/agent/token/:type`). In memory;
agents that are no servers keep theirs (`client_agent.tokens`)."""

from dataclasses import dataclass, field

KINDS = {
    "acl_token": "default",
    "default": "default",
    "acl_agent_token": "agent",
    "agent": "agent",
    "acl_agent_master_token": "agent_recovery",
    "agent_master": "agent_recovery",
    "agent_recovery": "agent_recovery",
    "acl_replication_token": "replication",
    "replication": "replication",
    "config_file_service_registration": "config_file_service_registration",
    "dns": "dns",
}
"""As in the path, with the names of older clients -> the token that is meant."""


@dataclass(slots=True)
class AgentTokens:
    """By kind. `default` stands for a request without a token of its own."""

    _secrets: dict[str, str] = field(default_factory=dict, repr=False)

    async def set(self, name: str, secret: str) -> bool:
        """False for a kind that does not exist; "" takes the token away."""
        kind = KINDS.get(name)
        if kind is None:
            return False
        self._secrets[kind] = secret
        return True

    async def remember(self, service_id: str, secret: str) -> None:
        """What a service was registered with. A server writes in its own name and need not know."""

    def of(self, kind: str) -> str:
        return self._secrets.get(kind, "")
